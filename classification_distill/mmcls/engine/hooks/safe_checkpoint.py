"""Checkpoints of which the last good one is never lost."""

import shutil
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmpretrain.registry import HOOKS

from ..atomic_files import AtomicBackend
from ..finite_weights import check_weights
from ..interruption import CHECKPOINT as INTERRUPTED

BACKEND = {'backend': 'atomic'}


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
                shutil.rmtree(partial) if partial.is_dir() else partial.unlink()

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
