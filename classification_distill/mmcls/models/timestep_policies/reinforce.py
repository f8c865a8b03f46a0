"""The policy of the paper: a small CNN that chooses the timestep of each image, trained by REINFORCE."""

import math
from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.distributions import Categorical

from ...errors import UnusableInputError
from .base import BaseTimestepPolicy, TimestepSample, check_share


@MODELS.register_module()
class ReinforcePolicy(BaseTimestepPolicy):
    """A categorical distribution over timesteps given the image, trained by REINFORCE (RepFusion, section 4.2).

    In training a timestep is drawn, in evaluation the most probable one is taken.

    Args:
        entropy_weight: Weight of the entropy bonus at the start of the training.
        entropy_decay_until: Share of the training, in (0, 1], at which the bonus has fallen linearly to 0; None keeps
            it.
        baseline: ``'mean'`` subtracts the running mean of the rewards of all processes; ``'none'`` is the published
            behaviour, whose gradient is far noisier.
        baseline_momentum: Share of the newest mean in the running mean.
        timesteps: Number of timesteps to choose from, evenly spaced in [0, T), or a list of them; None for all T, as
            published, which is also the most there are. On few the rewards of one timestep are many: of all 1,000, a
            window of good ones is often met too late, when the draws are certain already, and one timestep is then
            taken for all images.
        image_size: Size for which the CNN is laid out: it halves the image until it is 4 pixels high.
        channels: Channels of the first convolution.
        loss_weight: Weight of the policy gradient.
        num_timesteps: Number T of the diffusion process's timesteps.
    """

    learns = True

    def __init__(
        self,
        entropy_weight: float = 0.3,
        entropy_decay_until: float | None = 0.5,
        baseline: str = 'mean',
        baseline_momentum: float = 0.1,
        timesteps: int | Sequence[int] | None = 20,
        image_size: int = 32,
        channels: int = 32,
        loss_weight: float = 1.0,
        num_timesteps: int = 1000,
    ):
        super().__init__(num_timesteps)
        if baseline not in ('mean', 'none'):
            raise UnusableInputError(f"baseline={baseline!r}: expected 'mean' or 'none'.")
        if entropy_decay_until is not None:
            check_share('entropy_decay_until', entropy_decay_until)
        if isinstance(timesteps, Sequence):
            grid = self._listed(timesteps)
        else:
            number = min(num_timesteps if timesteps is None else timesteps, num_timesteps)
            grid = torch.arange(number) * num_timesteps // max(1, number)
        if len(grid) < 2:
            raise UnusableInputError(
                f'timesteps={timesteps}: expected 2 to {num_timesteps}, the timesteps of the teacher.'
            )
        self.initial_entropy_weight = self.entropy_weight = entropy_weight
        self.entropy_decay_until = entropy_decay_until
        self.baseline = baseline
        self.baseline_momentum = baseline_momentum
        self.loss_weight = loss_weight
        self.grid = grid
        self.register_buffer('reward_mean', torch.zeros(()))
        self.register_buffer('num_rewards', torch.zeros((), dtype=torch.int64))
        self.net = _build_cnn(image_size, channels, len(grid))

    def distribution(self, images: Tensor) -> Categorical:
        """Distribution over ``grid`` for each image ``(N, 3, H, W)`` in [-1, 1]."""
        # Without torch's check of the values, which waits for the device: FiniteLossHook looks at the losses.
        return Categorical(logits=self.net(images).float(), validate_args=False)

    def sample(self, images: Tensor) -> TimestepSample:
        distribution = self.distribution(images)
        if self.training:  # weights that are not finite are for the losses to show, not for the sampling to fail on
            probs = distribution.probs.nan_to_num(1)
            # As torch.multinomial draws, which waits for the device to check its input.
            action = (probs / torch.empty_like(probs).exponential_()).argmax(1)
        else:
            action = distribution.probs.argmax(1)
        return TimestepSample(self.grid[action], distribution.log_prob(action), distribution.entropy())

    def loss(self, sample: TimestepSample, reward: Tensor) -> dict[str, Tensor]:
        advantage = reward - self._update_baseline(reward) if self.baseline == 'mean' else reward
        return {
            'loss_policy': -self.loss_weight * (advantage * sample.log_prob).mean(),
            'loss_entropy': -self.entropy_weight * sample.entropy.mean(),
        }

    def set_progress(self, progress: float) -> None:
        if self.entropy_decay_until is not None:
            self.entropy_weight = self.initial_entropy_weight * max(0.0, 1 - progress / self.entropy_decay_until)

    @torch.no_grad()
    def _update_baseline(self, reward: Tensor) -> Tensor:
        """Return the baseline of this step, then let the step's rewards enter the running mean.

        The first step has no past: its own mean serves.
        """
        mean = reward.mean()
        all_reduce(mean, op='mean')
        baseline = torch.where(self.num_rewards > 0, self.reward_mean, mean)
        self.reward_mean.copy_(baseline.lerp(mean, self.baseline_momentum))
        self.num_rewards += 1
        return baseline


def _build_cnn(image_size: int, channels: int, num_actions: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.ReLU()]
    for _ in range(max(1, math.ceil(math.log2(image_size / 4)))):
        layers += [nn.Conv2d(channels, min(2 * channels, 128), 3, stride=2, padding=1), nn.ReLU()]
        channels = min(2 * channels, 128)
    head = nn.Linear(channels * 16, num_actions)
    # Every timestep is equally likely until a reward says otherwise.
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), head)
