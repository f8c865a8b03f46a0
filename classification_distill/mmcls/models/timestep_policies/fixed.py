import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from .base import BaseTimestepPolicy, TimestepSample


@MODELS.register_module()
class FixedPolicy(BaseTimestepPolicy):
    """The same timestep for every image.

    Args:
        timestep: The timestep, in [0, T).
        num_timesteps: Number T of the diffusion process's timesteps.
    """

    def __init__(self, timestep: int = 0, num_timesteps: int = 1000):
        super().__init__(num_timesteps)
        self._check_timestep('timestep', timestep)
        self.timestep = timestep
        self.grid = torch.tensor([timestep])

    def sample(self, images: Tensor) -> TimestepSample:
        return TimestepSample(torch.full((len(images),), self.timestep, device=images.device))
