"""Checkpoints of which the last good one is never lost."""

import shutil
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmpretrain.registry import HOOKS
from torch import nn

from ..errors import MissingFileError, RepFusionError
from ..files import remove, written_whole
from ..weights import find_damage, unwrap
from .gpu import read_losses

BACKEND = {'backend': 'atomic'}
INTERRUPTED = 'interrupted.pth'  # of a run that was asked to stop


class AtomicBackend(LocalBackend):
    """MMEngine's local files, each there whole or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file, or leave what was there as it was.

        Raises:
            OSError: When it cannot be written; the message says how much room there is.
        """
        try:
            with written_whole(filepath) as partial:
                partial.write_bytes(obj)
        except OSError as error:
            free = shutil.disk_usage(Path(filepath).parent).free
            raise OSError(
                error.errno,
                f'{error.strerror}: {filepath} was not written. It takes {len(obj) / 2**20:.1f} MiB, and '
                f'{free / 2**20:.1f} MiB are free there. Earlier files are as they were: make room and go on by '
                '--resume',
            ) from error


register_backend('atomic', AtomicBackend)


class NonFiniteError(RepFusionError, FloatingPointError):
    """Losses, rewards or weights that are infinite or NaN."""


def nonfinite_parameters(model: nn.Module) -> str:
    """How many parameters are not finite, and the names of three; empty where all are."""
    names = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    return f'{len(names)} tensors of weights are not finite ({", ".join(names[:3])})' if names else ''


def check_weights(runner) -> None:
    """Keep weights that are not finite out of checkpoints, of which the good ones would in time be removed.

    Raises:
        NonFiniteError: On all processes, when a parameter is not finite.
    """
    if problem := nonfinite_parameters(unwrap(runner.model)):
        raise NonFiniteError(
            f'No checkpoint is saved at iteration {runner.iter}: {problem}. Earlier ones are as they were. Try a lower '
            'learning rate, or optim_wrapper.clip_grad.max_norm=1.'
        )


def save_safely(runner, filename: str, meta: dict, resume_from_it: bool = True) -> None:
    """Save a checkpoint of everything in the work directory, whole or not at all.

    Args:
        runner: The run; all processes call.
        filename: Name of the checkpoint.
        meta: Its ``epoch`` and ``iter``: how many were done.
        resume_from_it: Whether ``--resume`` is to start there.

    Raises:
        NonFiniteError: When ``--resume`` is to start there and weights are not finite.
    """
    if resume_from_it:
        check_weights(runner)
    read_losses(runner)
    runner.save_checkpoint(runner.work_dir, filename, meta=meta, backend_args=BACKEND)
    if resume_from_it:
        _point_to(Path(runner.work_dir, filename), runner)


def _point_to(checkpoint: str | Path, runner) -> None:
    if is_main_process():
        AtomicBackend().put(str(checkpoint).encode(), Path(runner.work_dir, 'last_checkpoint'))


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's CheckpointHook, with its arguments, safe against a full disk and a kill at any moment.

    A checkpoint gets its name once it is whole, ``last_checkpoint`` names it after that, and only then is the oldest
    removed: the disk must hold one more than ``max_keep_ckpts``. One left by an interruption goes with the next.
    The best one so far (``save_best``) goes once the next best is whole. Weights that are not finite are not saved.
    """

    def before_train(self, runner) -> None:
        is_local = ':' not in str(self.out_dir or '')  # as in s3://
        if is_local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = BACKEND
        super().before_train(runner)
        if is_main_process():
            # Of a run that was killed; a pipeline's is a folder.
            for partial in Path(self.out_dir).glob('*.partial'):
                remove(partial)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        """As MMEngine's, which would remove the best one so far before the new one is written."""
        if not self.save_best:
            return
        check_weights(runner)
        earlier, self._best = self._best, dict.fromkeys(self._best)
        super()._save_best_checkpoint(runner, metrics)
        newer = self._best
        self._best = {key: newer[key] or path for key, path in earlier.items()}
        for key, path in earlier.items():
            if path and newer[key] not in (None, path) and is_main_process() and self.file_backend.isfile(path):
                self.file_backend.remove(path)

    @property
    def _best(self) -> dict[str, str | None]:
        """Path of the best checkpoint so far by metric; MMEngine has one attribute for one, another for several."""
        return dict(getattr(self, 'best_ckpt_path_dict', None) or {'': self.best_ckpt_path})

    @_best.setter
    def _best(self, paths: dict[str, str | None]) -> None:
        if '' in paths:
            self.best_ckpt_path = paths['']
        else:
            self.best_ckpt_path_dict = paths

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        check_weights(runner)
        read_losses(runner)
        outdated = None
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.keep_ckpt_ids.popleft()
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        _point_to(self.last_ckpt, runner)
        if is_main_process():
            Path(runner.work_dir, INTERRUPTED).unlink(missing_ok=True)
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated))
            if outdated is not None and self.file_backend.isfile(path):
                self.file_backend.remove(path)


class DamagedCheckpointError(RepFusionError, RuntimeError):
    """A checkpoint that cannot be read."""


def resolve_checkpoint(config: Config) -> list[str]:
    """Settle what ``load_from`` and ``resume`` name, before long work begins.

    Where a run is to go on from its newest checkpoint (``resume='auto'``, or ``resume`` without ``load_from``),
    ``load_from`` becomes the newest that can be read. It is the one that ``last_checkpoint`` names, or the latest
    written beside it. Where there is none yet, the run starts as it would without ``resume``.

    Returns:
        What is wrong with each newer checkpoint, for the log.

    Raises:
        FileNotFoundError: When the named file does not exist.
        DamagedCheckpointError: When the named file cannot be read, or none of the work directory's.
    """
    if config.get('resume') == 'auto' or (config.get('resume') and not config.get('load_from')):
        newest, problems = _find_newest(Path(config.work_dir).absolute())
        config.resume = newest is not None
        if newest:
            config.load_from = newest
            return problems
    path = config.get('load_from')
    if path and '://' not in path:  # MMEngine fetches the others
        source = f'--resume {path}' if config.get('resume') else f'load_from={path!r}'
        if not Path(path).is_file():
            raise MissingFileError(f'{source}: there is no such file in {Path.cwd()}.')
        if problem := find_damage(Path(path)):
            raise DamagedCheckpointError(f'{source}: the checkpoint cannot be used: {problem}.')
    return []


def _find_newest(work_dir: Path) -> tuple[str | None, list[str]]:
    """The newest checkpoint that can be read, None where there is none at all, and the problems of newer ones."""
    pointer = work_dir / 'last_checkpoint'
    named = pointer.read_text().strip() if pointer.is_file() else ''
    if '://' in named:
        return named, []
    problems = []
    for path in _candidates(work_dir, named):
        problem = find_damage(path)
        if problem is None:
            return str(path), problems
        problems.append(f'The checkpoint {path} cannot be used: {problem}. The one before it is used.')
    if problems:
        raise DamagedCheckpointError(
            '\n'.join([*problems, f'None in {work_dir} can be used. Train without --resume to start anew.'])
        )
    return None, []


def _candidates(work_dir: Path, named: str) -> list[Path]:
    """Checkpoints to resume from: the one that ``last_checkpoint`` names, then the others, the newest first."""
    first = [Path(named)] if named else []
    others = [
        path
        for folder in {work_dir, *(path.parent for path in first)}
        for pattern in ('epoch_*.pth', 'iter_*.pth', INTERRUPTED)
        for path in folder.glob(pattern)
    ]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return first + [path for path in others if path not in first]
