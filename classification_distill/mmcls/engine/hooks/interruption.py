"""Stopping a run from outside without losing anything."""

import signal
from pathlib import Path

import torch
from mmengine.dist import all_reduce, barrier
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..interruption import CHECKPOINT, EXIT_CODE, SIGNALS
from .safe_checkpoint import save_safely


@HOOKS.register_module()
class InterruptionHook(Hook):
    """On SIGTERM or SIGUSR1 save a checkpoint after the iteration that is under way, and end with exit code 85.

    All processes stop at the same iteration, whichever of them got the signal; where gradients are accumulated, at one
    that ends with an optimizer step. ``--resume`` then goes on at the next iteration. A validation that an
    iteration-based run would have done at that very iteration is not made up for.

    Workers of the dataloader inherit the handler, and so live on until their batches were used, where a signal goes to
    all processes of a job.
    """

    priority = 'LOWEST'  # the other hooks finish the iteration first

    def before_train(self, runner) -> None:
        self._signal = 0
        for number in SIGNALS:
            signal.signal(number, self._remember)

    def _remember(self, number: int, frame) -> None:
        self._signal = number

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        number = self._signal
        if runner.distributed:
            flag = torch.tensor(number)
            all_reduce(flag, 'max')
            number = flag.item()
        if number and runner.optim_wrapper.should_update():
            save_safely(runner, CHECKPOINT, meta={'epoch': runner.epoch, 'iter': runner.iter + 1})
            barrier()  # a launcher may kill the others as soon as one process ends
            runner.logger.info(
                f'{signal.Signals(number).name}: stopped after iteration {runner.iter + 1}, all of it is in '
                f'{Path(runner.work_dir, CHECKPOINT)}. Go on by --resume.'
            )
            raise SystemExit(EXIT_CODE)
