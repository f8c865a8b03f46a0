"""How a run is stopped from outside without losing anything, and kept from a work directory that is in use."""

import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import torch
from mmengine.dist import (
    all_gather_object,
    all_reduce,
    barrier,
    broadcast,
    get_comm_device,
    get_rank,
    get_world_size,
)
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..errors import RepFusionError
from ..weights import unwrap
from .checkpoints import INTERRUPTED, save_safely
from .terminal import AT_TERMINAL

EXIT_CODE = 85  # of a run that saved its state and wants to be resumed
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
NAMES = {signal.SIGINT: 'Ctrl-C'}
SECOND = 1.0  # seconds after which a Ctrl-C is another one, and not the first that torchrun passes on


class StoppedError(SystemExit):
    """Ends a process that was asked to stop, with ``EXIT_CODE``; the run can be resumed."""

    def __init__(self):
        super().__init__(EXIT_CODE)


def _stop(number: int, frame) -> None:
    raise StoppedError


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Until training begins there is nothing to save: a signal ends the run at once, with ``EXIT_CODE``.

    What the process ignores, as a background job does Ctrl-C, it goes on to ignore.
    """
    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _stop) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@HOOKS.register_module()
class InterruptionHook(Hook):
    """On SIGTERM, SIGUSR1 or Ctrl-C save a checkpoint after the iteration that is under way, and end with exit code 85.

    A second Ctrl-C ends the run at once.

    All processes stop at the same iteration, whichever of them got the signal: at the one after, so that none waits for
    its GPU to tell them; where gradients are accumulated, at one that ends with an optimizer step. ``--resume`` then
    goes on at the next iteration. A validation that an iteration-based run would have done at that very iteration is
    not made up for.

    Workers of the dataloaders do not listen to the signals, which a scheduler sends to all processes of a job: the run
    needs them to finish the iteration.
    """

    priority = 'LOWEST'  # the other hooks finish the iteration, or put the checkpoint in order, first

    def before_train(self, runner) -> None:
        self._signal, self._told = 0, None
        handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._handlers = {number: signal.signal(number, self._remember) for number in handled}

    def after_train(self, runner) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def before_train_epoch(self, runner) -> None:
        _block_signals(runner.train_dataloader)

    def before_val(self, runner) -> None:
        _block_signals(runner.val_dataloader)

    def _remember(self, number: int, frame) -> None:
        now = time.monotonic()
        if number == self._signal == signal.SIGINT and now - self._since > SECOND:
            sys.exit('A second Ctrl-C: stopped at once, without what was trained since the last checkpoint.')
        self._signal, self._since = number, now

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        number = self._agree() if runner.distributed else self._signal
        if not number or not runner.optim_wrapper.should_update():
            return
        buffers = _buffers_by_rank(unwrap(runner.model))
        meta = {'epoch': runner.epoch, 'iter': runner.iter + 1, 'buffers_by_rank': buffers}
        save_safely(runner, INTERRUPTED, meta)
        barrier()  # a launcher may kill the others as soon as one process ends
        runner.logger.info(
            f'{NAMES.get(number) or signal.Signals(number).name}: stopped after iteration '
            f'{runner.iter + 1}; all that it trained is in {Path(runner.work_dir, INTERRUPTED)}. Go on by --resume.',
            extra=AT_TERMINAL,
        )
        raise StoppedError

    def _agree(self) -> int:
        """The signal that a process had got by the iteration before."""
        earlier, self._told = self._told, torch.full((), self._signal, device=get_comm_device())
        all_reduce(self._told, 'max')
        return 0 if earlier is None else int(earlier)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        buffers = checkpoint.get('meta', {}).get('buffers_by_rank', [])
        if runner._resume and len(buffers) == get_world_size():
            checkpoint['state_dict'].update(buffers[get_rank()])


def _block_signals(loader: DataLoader) -> None:
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


LOCK = 'train.lock'
CONFIG = 'config '  # begins the line of the lock that names it
RANK_VARIABLES = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID'}


class WorkDirInUseError(RepFusionError, RuntimeError):
    """Another training run writes to the work directory, or has its checkpoints there."""


@contextmanager
def locked_work_dir(work_dir: str, launcher: str, config_file: str | None = None) -> Iterator[None]:
    """Hold ``<work_dir>/train.lock``, in the first process of a run; the others do nothing.

    The kernel releases the lock when the process ends, however it ends. It is a POSIX record lock: workers of the
    dataloader do not inherit it, and NFS passes it on to its server. On file systems mounted without locks between
    machines (``nolock``, ``local_lock``) it holds on one machine only.

    Args:
        work_dir: Work directory of the run.
        launcher: What started its processes.
        config_file: Its config, from where it is started.

    Raises:
        WorkDirInUseError: When another run holds it, or it has checkpoints of another config that still exists.
    """
    if int(os.environ.get(RANK_VARIABLES.get(launcher, ''), '0')):
        yield
        return
    path = Path(work_dir, LOCK)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a+') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise WorkDirInUseError(
                f'{path.parent.resolve()} is the work directory of a training that still runs: '
                f'{file.readline().strip()}. Wait for it, stop it (SIGTERM lets it save its state), or give '
                'another --work-dir.'
            ) from None
        file.seek(0)
        _refuse_another_config(path.parent, file.read(), config_file)
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}, started {time.strftime("%Y-%m-%d %H:%M:%S")}\n')
        if config_file:
            file.write(f'{CONFIG}{os.path.relpath(config_file)}\n')
        file.flush()
        yield


def _refuse_another_config(work_dir: Path, lock: str, config_file: str | None) -> None:
    """Two configs of one name, in two folders, have the same work directory by default."""
    begun = next((line.removeprefix(CONFIG) for line in lock.splitlines() if line.startswith(CONFIG)), None)
    if not begun or not config_file or Path(begun).name != Path(config_file).name or not any(work_dir.glob('*.pth')):
        return
    is_dumped = work_dir.resolve() in Path(config_file).resolve().parents  # by MMEngine, beside the checkpoints
    if not is_dumped and Path(begun).is_file() and not os.path.samefile(begun, config_file):
        raise WorkDirInUseError(
            f'{work_dir.resolve()} has checkpoints of {begun}, and this is {os.path.relpath(config_file)}. Give '
            'another --work-dir, or move that one away.'
        )
