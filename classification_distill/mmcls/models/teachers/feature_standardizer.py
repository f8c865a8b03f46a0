import torch
from mmengine.dist import all_reduce
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...errors import UnusableInputError


@MODELS.register_module()
class FeatureStandardizer(nn.Module):
    """Teacher features to mean 0 and variance 1 a channel, by running statistics, without an affine transform.

    The features' scale varies far more between channels and timesteps than between images; under a plain squared
    error a student learns just that, a constant. Statistics can be kept for each of several ranges of timesteps, which
    takes out what t alone explains.

    Args:
        channels: Channels of the teacher feature.
        num_bins: Number of equal ranges of timesteps with statistics of their own.
        momentum: Share, from 0 to 1, by which older batches fade with each new one.
        num_timesteps: Number T of the diffusion process's timesteps.
    """

    def __init__(self, channels: int, num_bins: int = 1, momentum: float = 0.02, num_timesteps: int = 1000):
        super().__init__()
        if not 0 <= momentum <= 1:
            raise UnusableInputError(f'momentum={momentum}: expected a share, from 0 to 1.')
        self.num_bins = num_bins
        self.momentum = momentum
        self.num_timesteps = num_timesteps
        self.register_buffer('count', torch.zeros(num_bins, 1))  # images, the older the less
        self.register_buffer('mean', torch.zeros(num_bins, channels))
        self.register_buffer('squares', torch.zeros(num_bins, channels))  # sum over images of the squared deviations

    @torch.no_grad()
    def forward(self, feature: Tensor, t: Tensor, update_statistics: bool = True) -> Tensor:
        """Standardise ``feature (N, C, h, w)`` read at timesteps ``t (N,)``; in training, update the statistics.

        Features of a range of timesteps of which fewer than two different images were seen keep their scale.
        """
        bins = t * self.num_bins // self.num_timesteps
        if self.training and update_statistics:
            self._update(feature, bins)
        mean, scale = (s[bins][..., None, None] for s in (self.mean, self._scale()))
        return (feature.float() - mean) * scale

    def _scale(self) -> Tensor:
        variance = self.squares / self.count.clamp(min=1)
        typical = variance.mean(1, keepdim=True)
        # 2 images, of which one has faded a little; of equal ones only rounding errors differ.
        known = (self.count > 1.5) & (typical > 1e-10 * self.mean.square().mean(1, keepdim=True))
        # A channel that hardly changes is not blown up.
        return torch.where(known, variance.maximum(1e-6 * typical), 1.0).rsqrt()

    def _update(self, feature: Tensor, bins: Tensor) -> None:
        """Merge a batch into the statistics (Chan et al., 1979: sums of squares about the mean do not cancel)."""
        # Sums over images are float64, which Apple's GPUs do not have.
        precise = torch.float32 if feature.device.type == 'mps' else torch.float64
        pixels = feature.float().flatten(2)  # (N, C, h * w)
        image_mean = pixels.mean(2)
        within = (pixels - image_mean[..., None]).square().mean(2)
        shift = image_mean.to(precise) - self.mean[bins].to(precise)
        sums = torch.cat([torch.ones_like(shift[:, :1]), shift, within + shift.square()], 1)  # (N, 1 + 2 C)
        batch = sums.new_zeros(self.num_bins, sums.shape[1]).index_add_(0, bins, sums)
        all_reduce(batch)
        count, shift, squares = batch.tensor_split([1, 1 + self.mean.shape[1]], 1)
        keep = torch.where(count > 0, 1 - self.momentum, 1.0)  # a range that the batch missed stays as it is
        total = keep * self.count + count
        moved = shift / total.clamp(min=1)
        self.squares.mul_(keep).add_(squares - total * moved.square())
        self.mean.add_(moved)
        self.count.copy_(total)
