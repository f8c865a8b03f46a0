"""What lets a resumed run end in the weights of one that was never stopped: its draws, and its place in the epoch.

Random draws follow from the seed, the iteration and the rank, so that no checkpoint need hold random states.
"""

import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import HOOKS
from torch.utils.data import get_worker_info

from .terminal import AT_TERMINAL

DATA, STEP = 0, 1  # what the draws of an iteration are for


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Make the random draws of every iteration depend on the seed, the iteration and the rank alone.

    A run resumed at any iteration then draws the same augmentations, timesteps and noise as one that was never stopped,
    whatever the number of workers. The sampler's order is its own, of which EpochPositionHook keeps the seed.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner) -> None:
        loader = runner.train_dataloader
        if not isinstance(loader.collate_fn, _BatchSeeds):
            loader.collate_fn = _BatchSeeds(loader.collate_fn, loader.worker_init_fn, runner.seed)
            loader.worker_init_fn = loader.collate_fn.begin
            loader.generator = torch.Generator()  # which it asks when it begins, wherever in the epoch that is
        sampler = getattr(loader.batch_sampler, 'sampler', None)
        seen = sampler.num_seen // loader.batch_sampler.batch_size if isinstance(sampler, _Rest) else 0
        endless = isinstance(sampler, InfiniteSampler) or sampler is None
        loader.collate_fn.length = math.inf if endless else len(loader)
        loader.collate_fn.end = runner.iter + loader.collate_fn.length - seen
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

    The batches go round the workers, at the start of each epoch from the first on: workers that outlive an epoch
    (``persistent_workers``) are not told of the next one, but know when it begins.

    Attributes:
        iteration: That of the next batch.
        end: That of the first batch of the next epoch.
        length: Batches of an epoch.
    """

    def __init__(self, collate: Callable, worker_init_fn: Callable[[int], None] | None, seed: int):
        self.collate = collate
        self.worker_init_fn = worker_init_fn
        self.seed = seed
        self.rank = get_rank()
        self.iteration = 0
        self.length = self.end = math.inf

    def begin(self, worker_id: int) -> None:
        if self.worker_init_fn:  # first, because MMEngine's own seeds the generators as well
            self.worker_init_fn(worker_id)
        self._go_to(self.iteration + worker_id, worker_id)

    def __call__(self, samples: Sequence):
        batch = self.collate(samples)
        if worker := get_worker_info():
            self._go_to(self.iteration + worker.num_workers, worker.id)
        return batch

    def _go_to(self, iteration: int, worker_id: int) -> None:
        if iteration >= self.end:
            iteration, self.end = self.end + worker_id, self.end + self.length
        self.iteration = iteration
        seed_draws(self.seed, self.iteration, DATA, self.rank)


def seed_draws(seed: int, iteration: int, purpose: int, rank: int | None = None) -> None:
    """Seed the generators of Python, NumPy and torch, of all devices."""
    rank = get_rank() if rank is None else rank
    state = int(np.random.SeedSequence((seed, iteration, rank, purpose)).generate_state(1)[0])
    random.seed(state)
    np.random.seed(state)
    torch.manual_seed(state)


@HOOKS.register_module()
class EpochPositionHook(Hook):
    """Keep in each checkpoint of an unfinished epoch how many of its batches were seen, and skip those on resuming.

    The seed of the sampler's order is kept as well.

    EpochBasedTrainLoop itself would begin the epoch anew; IterBasedTrainLoop finds its place without help. Nothing is
    loaded to skip it: the sampler's order is deterministic. Hooks are given the batch's number within the whole epoch.

    Where an epoch has other batches than when the checkpoint was saved, an unfinished one begins anew, and the
    iterations, on which schedules depend, are counted as if all epochs had been so.
    """

    priority = 'HIGHEST'  # before IterationSeedHook, whose seeds follow from where the epoch goes on

    def __init__(self):
        self._batches_seen = 0
        self._resumed_from: dict | None = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if runner._resume:
            self._resumed_from = checkpoint['meta'].get('epoch_position')
            # Where the config names no seed, the sampler was built with a new one.
            seed, sampler = checkpoint['meta'].get('sampler_seed'), _sampler(runner)
            if seed is not None and sampler is not None:
                sampler.seed = seed

    def before_train(self, runner) -> None:
        if not runner._resume or not isinstance(runner.train_loop, EpochBasedTrainLoop):
            return
        now, before, said = _epoch_size(runner), self._resumed_from or {}, ''
        if any(before.get(key, value) != value for key, value in now.items()):
            said = f', and epoch {runner.epoch + 1} begins anew: it was saved in one of {_describe(self._resumed_from)}'
            self._resumed_from = None
        seen = self._resumed_from['batches_seen'] if self._resumed_from else 0
        iteration = runner.epoch * now['batches'] + seen
        if said or iteration != runner.iter:
            runner.logger.warning(
                f'An epoch now has {_describe(now)}. The {runner.iter} iterations of the checkpoint are counted as '
                f'{iteration}{said}.',
                extra=AT_TERMINAL,
            )
            runner.train_loop._iter = iteration
            runner.optim_wrapper.initialize_count_status(runner.model, iteration, runner.max_iters)

    def before_train_epoch(self, runner) -> None:
        self._batches_seen = 0
        if self._resumed_from is None:
            return
        self._batches_seen = self._resumed_from['batches_seen']
        batch_sampler = runner.train_dataloader.batch_sampler
        batch_sampler.sampler = _Rest(batch_sampler.sampler, self._batches_seen * batch_sampler.batch_size)
        # The loop counts what the loader gives it.
        runner.train_loop.run_iter = partial(_run_later_iter, runner.train_loop.run_iter, self._batches_seen)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._batches_seen += 1

    def after_train_epoch(self, runner) -> None:
        self._batches_seen = 0
        if self._resumed_from is not None:
            self._resumed_from = None
            batch_sampler = runner.train_dataloader.batch_sampler
            batch_sampler.sampler = batch_sampler.sampler.sampler
            del runner.train_loop.run_iter  # the class's own is there again

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['meta']['sampler_seed'] = getattr(_sampler(runner), 'seed', None)
        if self._batches_seen and isinstance(runner.train_loop, EpochBasedTrainLoop):
            checkpoint['meta']['epoch_position'] = {'batches_seen': self._batches_seen, **_epoch_size(runner)}


class _Rest:
    """A sampler without its first samples; its length is the whole epoch's, against which batches are counted."""

    def __init__(self, sampler, num_seen: int):
        self.sampler = sampler
        self.num_seen = num_seen
        if hasattr(sampler, 'set_epoch'):  # DistSamplerSeedHook asks the batch sampler's, where the config has its own
            self.set_epoch = sampler.set_epoch

    def __iter__(self):
        return islice(self.sampler, self.num_seen, None)

    def __len__(self) -> int:
        return len(self.sampler)


def _sampler(runner):
    """The one that draws the order; where the config has a ``batch_sampler``, the dataloader's own serves nothing.

    None where no sampler draws, which takes a config without MMEngine's ``sampler_seed`` hook.
    """
    sampler = getattr(runner.train_dataloader.batch_sampler, 'sampler', None)
    return sampler.sampler if isinstance(sampler, _Rest) else sampler


def _run_later_iter(run_iter: Callable, num_seen: int, batch_idx: int, data_batch) -> None:
    run_iter(num_seen + batch_idx, data_batch)


def _epoch_size(runner) -> dict[str, int]:
    return {
        'batches': len(runner.train_dataloader),
        'batch_size': getattr(runner.train_dataloader.batch_sampler, 'batch_size', None),
        'processes': get_world_size(),
        'images': len(runner.train_dataloader.dataset),
    }


def _describe(position: dict[str, int]) -> str:
    return '{batches} batches of {batch_size} images in {processes} processes'.format(**position)
