"""A timestep policy says at which timestep the teacher looks at each image."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import UnusableInputError


@dataclass
class TimestepSample:
    """One draw of a policy.

    Attributes:
        t: Timesteps ``(N,)``, int64.
        log_prob: Log-probability of each draw ``(N,)``; None for policies that do not learn.
        entropy: Entropy in nats of each image's distribution ``(N,)``; None likewise.
    """

    t: Tensor
    log_prob: Tensor | None = None
    entropy: Tensor | None = None

    def first(self, count: int) -> 'TimestepSample':
        """The draws for the first images."""
        parts = (self.t, self.log_prob, self.entropy)
        return TimestepSample(*(None if part is None else part[:count] for part in parts))


class BaseTimestepPolicy(nn.Module):
    """Base of all policies; those without parameters have no loss.

    Args:
        num_timesteps: Number T of the diffusion process's timesteps.
    """

    #: Whether ``loss`` needs the reward of a task head. The constructor of such a policy takes ``image_size``, the
    #: height of the teacher's images, too, and what it chooses is shown by its ``distribution(images)`` over ``grid``.
    learns = False

    def __init__(self, num_timesteps: int = 1000):
        super().__init__()
        self.num_timesteps = num_timesteps
        #: All timesteps that the policy can choose, ascending.
        self.register_buffer('grid', torch.arange(num_timesteps), persistent=False)

    def sample(self, images: Tensor) -> TimestepSample:
        """Choose a timestep for each image.

        Args:
            images: ``(N, 3, H, W)`` in [-1, 1].

        Returns:
            TimestepSample: With ``t`` in [0, T).
        """
        raise NotImplementedError

    def loss(self, sample: TimestepSample, reward: Tensor) -> dict[str, Tensor]:
        """Loss of a draw whose reward is ``reward (N,)``, detached."""
        return {}

    def set_progress(self, progress: float) -> None:
        """Tell how much of the training is done, from 0 to 1; policies with a schedule follow it.

        RepFusion does so before each draw; a training loop of one's own has to.
        """

    def _listed(self, timesteps: Sequence[int]) -> Tensor:
        """The grid of listed timesteps."""
        if not timesteps:
            raise UnusableInputError('timesteps is empty: list at least one.')
        for timestep in timesteps:
            self._check_timestep('timestep', timestep)
        return torch.tensor(sorted(set(timesteps)))

    def _check_timestep(self, name: str, value: int) -> None:
        if not 0 <= value < self.num_timesteps:
            raise UnusableInputError(f'{name}={value} is not a timestep: expected 0 <= {name} < {self.num_timesteps}.')


def check_share(name: str, value: float) -> None:
    """Refuse a share of the training at which a schedule cannot end.

    Raises:
        ValueError: When it is not in (0, 1].
    """
    if not 0 < value <= 1:
        raise UnusableInputError(f'{name}={value}: expected a share of the training, greater than 0 and at most 1.')
