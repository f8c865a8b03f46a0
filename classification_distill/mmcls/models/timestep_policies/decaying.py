import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from ...errors import UnusableInputError
from .base import TimestepSample, check_share
from .uniform import UniformPolicy


@MODELS.register_module()
class DecayingPolicy(UniformPolicy):
    """A uniform draw whose upper end falls linearly while the student learns.

    Args:
        start: Upper end of the range at first, exclusive; None for T.
        stop: Upper end of the range once ``decay_until`` is reached.
        decay_until: Share of the training, in (0, 1], after which the range stays as it is.
        num_timesteps: Number T of the diffusion process's timesteps.
    """

    def __init__(self, start: int | None = None, stop: int = 1, decay_until: float = 1.0, num_timesteps: int = 1000):
        super().__init__(start, num_timesteps=num_timesteps)
        self._check_timestep('stop - 1', stop - 1)
        check_share('decay_until', decay_until)
        if stop > self.num_drawn:
            raise UnusableInputError(f'stop={stop}: expected at most start, {self.num_drawn}; the range falls.')
        self.start, self.stop, self.decay_until = self.num_drawn, stop, decay_until
        # A test of a checkpoint draws as the training's own validation did.
        self.register_buffer('drawn', torch.tensor(self.num_drawn))

    def set_progress(self, progress: float) -> None:
        share = min(progress / self.decay_until, 1.0)
        self.num_drawn = round(self.start + (self.stop - self.start) * share)
        self.drawn.fill_(self.num_drawn)

    def sample(self, images: Tensor) -> TimestepSample:
        if not self.training:
            self.num_drawn = int(self.drawn)
        return super().sample(images)
