"""Random draws that follow from the seed, the iteration and the rank, so that no checkpoint need hold random states."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch.utils.data import get_worker_info

DATA, STEP = 0, 1  # what the draws of an iteration are for


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Make the random draws of every iteration depend on the seed, the iteration and the rank alone.

    A run resumed at any iteration then draws the same augmentations, timesteps and noise as one that was never stopped,
    whatever the number of workers. The sampler's order is its own, of which EpochPositionHook keeps the seed.

    Raises:
        ValueError: When workers outlive the sampler's order: they would not learn at which iteration they are.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner) -> None:
        loader = runner.train_dataloader
        if loader.num_workers and loader.persistent_workers and not isinstance(loader.sampler, InfiniteSampler):
            raise ValueError(
                'IterationSeedHook: set train_dataloader.persistent_workers=False, use InfiniteSampler, or remove the '
                'hook (default_hooks.iteration_seed=None).'
            )
        if not isinstance(loader.collate_fn, _BatchSeeds):
            loader.collate_fn = _BatchSeeds(loader.collate_fn, loader.worker_init_fn, runner.seed)
            loader.worker_init_fn = loader.collate_fn.begin
        self._next(runner, runner.iter)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        seed_draws(runner.seed, runner.iter, STEP)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._next(runner, runner.iter + 1)

    def after_val_epoch(self, runner, metrics=None) -> None:
        if runner.iter:  # else there is no training
            self._next(runner, runner.iter)

    @staticmethod
    def _next(runner, iteration: int) -> None:
        """The next batch, loaded in this process or by workers that start now, is that of the iteration."""
        runner.train_dataloader.collate_fn.iteration = iteration
        seed_draws(runner.seed, iteration, DATA)


class _BatchSeeds:
    """Seeds a worker for its first batch as ``worker_init_fn``, and for the next after each batch as ``collate_fn``.

    The batches go round the workers.
    """

    def __init__(self, collate: Callable, worker_init_fn: Callable[[int], None] | None, seed: int):
        self.collate = collate
        self.worker_init_fn = worker_init_fn
        self.seed = seed
        self.rank = get_rank()
        self.iteration = 0

    def begin(self, worker_id: int) -> None:
        if self.worker_init_fn:  # first, because MMEngine's own seeds the generators as well
            self.worker_init_fn(worker_id)
        self.iteration += worker_id
        seed_draws(self.seed, self.iteration, DATA, self.rank)

    def __call__(self, samples: Sequence):
        batch = self.collate(samples)
        if worker := get_worker_info():
            self.iteration += worker.num_workers
            seed_draws(self.seed, self.iteration, DATA, self.rank)
        return batch


def seed_draws(seed: int, iteration: int, purpose: int, rank: int | None = None) -> None:
    """Seed the generators of Python, NumPy and torch, of all devices."""
    rank = get_rank() if rank is None else rank
    state = int(np.random.SeedSequence((seed, iteration, rank, purpose)).generate_state(1)[0])
    random.seed(state)
    np.random.seed(state)
    torch.manual_seed(state)
