import torch
from mmengine.dist import all_reduce
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class FeatureStandardizer(nn.Module):
    """Teacher features to mean 0 and variance 1 a channel, by running statistics, without an affine transform.

    The features' scale varies far more between channels and timesteps than between images; under a plain squared
    error a student learns just that, a constant. Statistics can be kept for each of several ranges of timesteps, which
    takes out what t alone explains.

    Args:
        channels: Channels of the teacher feature.
        num_bins: Number of equal ranges of timesteps with statistics of their own.
        momentum: Share of the newest batch in the running statistics.
        num_timesteps: Number T of the diffusion process's timesteps.
    """

    def __init__(self, channels: int, num_bins: int = 1, momentum: float = 0.02, num_timesteps: int = 1000):
        super().__init__()
        self.num_bins = num_bins
        self.momentum = momentum
        self.num_timesteps = num_timesteps
        # float64: the variance is a difference of two sums.
        self.register_buffer('count', torch.zeros(num_bins, 1, dtype=torch.float64))
        self.register_buffer('total', torch.zeros(num_bins, channels, dtype=torch.float64))
        self.register_buffer('total_squared', torch.zeros(num_bins, channels, dtype=torch.float64))

    @torch.no_grad()
    def forward(self, feature: Tensor, t: Tensor, update_statistics: bool = True) -> Tensor:
        """Standardise ``feature (N, C, h, w)`` read at timesteps ``t (N,)``; in training, update the statistics."""
        bins = t * self.num_bins // self.num_timesteps
        if self.training and update_statistics:
            self._update(feature, bins)
        count = self.count.clamp(min=1e-12)
        mean = self.total / count
        variance = self.total_squared / count - mean.square()
        scale = torch.where(self.count > 0, variance.clamp(min=1e-10), 1.0).rsqrt()
        mean, scale = (s[bins].to(torch.float32)[..., None, None] for s in (mean, scale))
        return (feature.float() - mean) * scale

    def _update(self, feature: Tensor, bins: Tensor) -> None:
        x = feature.double().flatten(2)  # (N, C, h * w)
        count = torch.zeros_like(self.count).index_add_(0, bins, x.new_full((len(x), 1), x.shape[2]))
        total = torch.zeros_like(self.total).index_add_(0, bins, x.sum(2))
        total_squared = torch.zeros_like(self.total_squared).index_add_(0, bins, x.square().sum(2))
        for batch in (count, total, total_squared):
            all_reduce(batch)
        keep = torch.where(count > 0, 1 - self.momentum, 1.0)  # a range that the batch missed stays as it is
        for running, batch in ((self.count, count), (self.total, total), (self.total_squared, total_squared)):
            running.mul_(keep).add_(batch)
