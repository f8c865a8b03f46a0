"""Stopping a run from outside without losing anything."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import torch
from mmengine.dist import all_gather_object, all_reduce, barrier, broadcast, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmpretrain.registry import HOOKS
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..interruption import CHECKPOINT, EXIT_CODE, SIGNALS
from .safe_checkpoint import save_safely


@HOOKS.register_module()
class InterruptionHook(Hook):
    """On SIGTERM or SIGUSR1 save a checkpoint after the iteration that is under way, and end with exit code 85.

    All processes stop at the same iteration, whichever of them got the signal; where gradients are accumulated, at one
    that ends with an optimizer step. ``--resume`` then goes on at the next iteration. A validation that an
    iteration-based run would have done at that very iteration is not made up for.

    Workers of the dataloaders do not listen to the signals, which a scheduler sends to all processes of a job: the run
    needs them to finish the iteration.
    """

    priority = 'LOWEST'  # the other hooks finish the iteration, or put the checkpoint in order, first

    def before_train(self, runner) -> None:
        self._signal = 0
        self._handlers = {number: signal.signal(number, self._remember) for number in SIGNALS}

    def after_train(self, runner) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def before_train_epoch(self, runner) -> None:
        _deafen_workers(runner.train_dataloader)

    def before_val(self, runner) -> None:
        _deafen_workers(runner.val_dataloader)

    def _remember(self, number: int, frame) -> None:
        self._signal = number

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        number = torch.tensor(self._signal)
        if runner.distributed:
            all_reduce(number, 'max')
        if not number or not runner.optim_wrapper.should_update():
            return
        buffers = _buffers_by_rank(runner.model.module if is_model_wrapper(runner.model) else runner.model)
        meta = {'epoch': runner.epoch, 'iter': runner.iter + 1, 'buffers_by_rank': buffers}
        save_safely(runner, CHECKPOINT, meta)
        barrier()  # a launcher may kill the others as soon as one process ends
        runner.logger.info(
            f'{signal.Signals(number.item()).name}: stopped after iteration {runner.iter + 1}; all that it trained is '
            f'in {Path(runner.work_dir, CHECKPOINT)}. Go on by --resume.'
        )
        raise SystemExit(EXIT_CODE)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        buffers = checkpoint.get('meta', {}).get('buffers_by_rank', [])
        if runner._resume and len(buffers) == get_world_size():
            checkpoint['state_dict'].update(buffers[get_rank()])


def _deafen_workers(loader: DataLoader) -> None:
    if not isinstance(loader.worker_init_fn, _DeafWorker) and sys.platform == 'linux':  # others do not tell the sender
        loader.worker_init_fn = _DeafWorker(loader.worker_init_fn)


class _DeafWorker:
    """A ``worker_init_fn`` after which the worker ends by a signal of its parent only."""

    def __init__(self, worker_init_fn: Callable[[int], None] | None):
        self.worker_init_fn = worker_init_fn

    def __call__(self, worker_id: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        Thread(target=_end_with_parent, daemon=True).start()
        if self.worker_init_fn:
            self.worker_init_fn(worker_id)


def _end_with_parent() -> None:
    while signal.sigwaitinfo(SIGNALS).si_pid != os.getppid():
        pass
    os._exit(0)


def _buffers_by_rank(model: nn.Module) -> list[dict[str, Tensor]]:
    """What each process holds otherwise than the first, whose state the checkpoint is: its running statistics."""
    saved = model.state_dict().keys()
    own = {}
    for name, buffer in model.named_buffers():
        if name not in saved:
            continue
        first = buffer.clone()
        broadcast(first)
        if not torch.equal(first, buffer):
            own[name] = buffer.cpu()
    return all_gather_object(own)
