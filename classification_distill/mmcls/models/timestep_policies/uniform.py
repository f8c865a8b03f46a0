import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from .base import BaseTimestepPolicy, TimestepSample


@MODELS.register_module()
class UniformPolicy(BaseTimestepPolicy):
    """A timestep drawn uniformly from [0, max_timestep) for each image; in evaluation the middle of the range.

    Args:
        max_timestep: Upper end of the range, exclusive; None for T.
        num_timesteps: Number T of the diffusion process's timesteps.
    """

    def __init__(self, max_timestep: int | None = None, num_timesteps: int = 1000):
        super().__init__(num_timesteps)
        self.max_timestep = num_timesteps if max_timestep is None else max_timestep
        self._check_timestep('max_timestep - 1', self.max_timestep - 1)
        self.grid = torch.arange(self.max_timestep)

    def sample(self, images: Tensor) -> TimestepSample:
        shape = (len(images),)
        if not self.training:
            return TimestepSample(torch.full(shape, self.max_timestep // 2, device=images.device))
        return TimestepSample(torch.randint(self.max_timestep, shape, device=images.device))
