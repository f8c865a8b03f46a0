from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from ...errors import UnusableInputError
from .base import BaseTimestepPolicy, TimestepSample


@MODELS.register_module()
class UniformPolicy(BaseTimestepPolicy):
    """A timestep drawn uniformly for each image, from [0, max_timestep) or a list; in evaluation the middle one.

    Args:
        max_timestep: Upper end of the range, exclusive; None for T.
        timesteps: Timesteps to draw from instead. Of a few, features can be kept (``feature_cache``).
        num_timesteps: Number T of the diffusion process's timesteps.
    """

    def __init__(
        self, max_timestep: int | None = None, timesteps: Sequence[int] | None = None, num_timesteps: int = 1000
    ):
        super().__init__(num_timesteps)
        if timesteps is None:
            end = num_timesteps if max_timestep is None else max_timestep
            self._check_timestep('max_timestep - 1', end - 1)
            self.grid = torch.arange(end)
        elif max_timestep is None:
            self.grid = self._listed(timesteps)
        else:
            raise UnusableInputError(f'max_timestep={max_timestep} and timesteps={timesteps}: give one of the two.')
        self.num_drawn = len(self.grid)  # of the grid, from its start

    def sample(self, images: Tensor) -> TimestepSample:
        shape = (len(images),)
        if self.training:
            return TimestepSample(self.grid[torch.randint(self.num_drawn, shape, device=images.device)])
        return TimestepSample(self.grid[self.num_drawn // 2].expand(shape))
