"""A planted problem for timestep policies: python tests/models/planted_windows.py [SEEDS] [KEY=VALUE of the policy ...]

Bright images are rewarded for t in [600, 800), dark ones for t in [100, 250), with noise in the reward. Prints for each
seed the share of held-out images whose timestep lies in their window; 0.5 means that one window was taken for all.
"""

import ast
import sys

import torch
from mmcls.models.timestep_policies.reinforce import ReinforcePolicy

WINDOWS = torch.tensor([[100, 250], [600, 800]])  # of dark and of bright images


def draw_images(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images ``(size, 3, 16, 16)`` and whether each is bright."""
    kind = torch.randint(2, (size,))
    images = torch.randn(size, 3, 16, 16) * 0.3 + (kind.float() - 0.5)[:, None, None, None]
    return images.clamp(-1, 1), kind


def in_window(t: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
    low, high = WINDOWS[kind].T
    return (low <= t) & (t < high)


def train(policy, is_rewarded: bool = True, steps: int = 600) -> None:
    optimizer = torch.optim.Adam(policy.parameters(), lr=2e-3)
    for step in range(steps):
        policy.set_progress(step / steps)
        images, kind = draw_images(64)
        sample = policy.sample(images)
        reward = is_rewarded * in_window(sample.t, kind).float() + 0.5 * torch.randn(64)
        optimizer.zero_grad()
        sum(policy.loss(sample, reward).values()).backward()
        optimizer.step()


def share_in_window(policy) -> float:
    images, kind = draw_images(1000)
    return in_window(policy.eval().sample(images).t, kind).float().mean().item()


def main() -> None:
    torch.set_num_threads(1)
    num_seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    settings = {key: ast.literal_eval(value) for key, value in (option.split('=') for option in sys.argv[2:])}
    shares = []
    for seed in range(num_seeds):
        torch.manual_seed(seed)
        policy = ReinforcePolicy(image_size=16, **settings)
        train(policy)
        shares.append(share_in_window(policy))
        print(f'seed {seed}: {shares[-1]:.3f}', flush=True)
    print(f'{sum(share >= 0.97 for share in shares)} of {num_seeds} at 0.97 or more')


if __name__ == '__main__':
    main()
