"""Losses and rewards that are no numbers end a run before they enter the weights."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_gather_object, all_reduce, get_rank
from mmengine.hooks import Hook
from mmengine.runner import save_checkpoint
from mmengine.structures import BaseDataElement
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from ..weights import unwrap
from .checkpoints import BACKEND, NonFiniteError, nonfinite_parameters, save_safely

NAMED = 16  # images that a message names


def name_images(batch) -> str:
    """The paths of a batch's images, or their indices in the data set where they have none."""
    samples = [sample.to_dict() for sample in _data_elements(batch)]
    names = [str(sample.get('img_path') or f'image {sample.get("sample_idx")}') for sample in samples]
    rest = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
    return f'{len(names)} images: {", ".join(names[:NAMED])}{rest}'


def _data_elements(batch) -> Iterator[BaseDataElement]:
    if isinstance(batch, BaseDataElement):
        yield batch
    elif isinstance(batch, dict | list | tuple):
        for part in batch.values() if isinstance(batch, dict) else batch:
            yield from _data_elements(part)


def to_plain(value):
    """Turn into dicts and lists of CPU tensors, numbers and strings, which ``load_checkpoint`` reads."""
    if isinstance(value, BaseDataElement):
        value = value.to_dict()
    if isinstance(value, dict):
        return {str(key): to_plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(part) for part in value]
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray | np.generic):
        return to_plain(value.tolist()) if value.dtype.kind not in 'biuf' else torch.from_numpy(np.array(value))
    return value if isinstance(value, str | int | float | None) else str(value)


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop before a loss, reward or other value of the step that is infinite or NaN enters the weights.

    What is needed to look at it is saved first, in the work directory: ``non_finite_iter_<N>.pth``, a checkpoint with
    the weights and the optimizer as they were before the step (running statistics as its forward pass left them), from
    which ``--resume`` runs into the same step; and, by each process that found such a value,
    ``non_finite_iter_<N>_rank<R>.pth`` with its ``batch``, ``values`` by name, and ``timesteps``.

    Gradients are not looked at: with AMP some overflow, and the scaler skips their step. Where they spoil the weights,
    the next step's loss shows it, and the message says so.

    Args:
        max_skipped: Steps in a row that may be left out instead of stopping, on all processes. Their batches are saved
            all the same. All buffers are then copied before each step, to be put back.

    Raises:
        NonFiniteError: On all processes, with the names of the values and of the images.
    """

    def __init__(self, max_skipped: int = 0):
        self.max_skipped = max_skipped
        self._num_skipped = 0
        self._skip = False

    def before_train(self, runner) -> None:
        self._model = unwrap(runner.model)
        self._handle = self._model.register_forward_hook(partial(self._check, runner), with_kwargs=True)
        if self.max_skipped:
            optim_wrapper = runner.optim_wrapper
            optim_wrapper.update_params = partial(self._update_or_skip, optim_wrapper.update_params)

    def after_train(self, runner) -> None:
        self._handle.remove()

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._batch = data_batch
        if self.max_skipped:
            self._buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}

    def _check(self, runner, model: nn.Module, args: tuple, kwargs: dict, outputs) -> None:
        """See what the model returns in mode ``loss``, before the backward pass."""
        if kwargs.get('mode') != 'loss':
            return
        values = _flatten(outputs)
        total = torch.stack([value.float().sum() for value in values.values()]).sum()
        is_bad = (~torch.isfinite(total)).int()  # a single transfer from the device
        if runner.distributed:
            all_reduce(is_bad, 'max')
        if is_bad:
            self._stop_or_skip(runner, self._find(runner, values))
        else:
            self._num_skipped = 0

    def _find(self, runner, values: dict[str, Tensor]) -> str:
        """Save this process's batch where it is concerned, and say what all processes found."""
        bad = [key for key, value in values.items() if not value.isfinite().all()]
        finding = None
        if bad:
            path = Path(runner.work_dir, f'non_finite_iter_{runner.iter + 1}_rank{get_rank()}.pth')
            timesteps = getattr(self._model, 'last_timesteps', None)
            contents = to_plain({'batch': self._batch, 'values': values, 'timesteps': timesteps})
            save_checkpoint(contents, str(path), backend_args=BACKEND)
            named = ', '.join(f'{key} is {values[key].flatten().tolist()}' for key in bad)
            finding = f'Rank {get_rank()}: {named} for {name_images(self._batch)}. The batch is in {path}.'
        findings = [finding for finding in all_gather_object(finding) if finding]
        if weights := nonfinite_parameters(self._model):
            findings.append(
                f'{weights}, so an earlier step spoilt them: try a lower learning rate, or '
                'optim_wrapper.clip_grad.max_norm=1.'
            )
        return '\n'.join([f'Values that are not finite, at iteration {runner.iter + 1}.', *findings])

    def _stop_or_skip(self, runner, message: str) -> None:
        if self._num_skipped < self.max_skipped:
            self._num_skipped += 1
            self._skip = True
            runner.logger.warning(f'{message}\nThe step is skipped, {self._num_skipped} in a row.')
            return
        name = f'non_finite_iter_{runner.iter + 1}.pth'
        save_safely(runner, name, meta={'epoch': runner.epoch, 'iter': runner.iter}, resume_from_it=False)
        raise NonFiniteError(
            f'{message}\nWeights and optimizer from before the step are in {Path(runner.work_dir, name)}: --resume '
            'with it runs into the step again. Regular checkpoints are as they were. To leave out such steps, up '
            'to N in a row: --cfg-options default_hooks.finite_loss.max_skipped=<N>.'
        )

    def _update_or_skip(self, update_params, *args, **kwargs) -> None:
        if not self._skip:
            update_params(*args, **kwargs)
            return
        self._skip = False
        for name, buffer in self._model.named_buffers():
            buffer.copy_(self._buffers[name])


def _flatten(outputs: dict[str, Tensor | list[Tensor]]) -> dict[str, Tensor]:
    """The values by name, those in lists as ``name[0]``, ..."""
    values = {}
    for key, value in outputs.items():
        parts = {f'{key}[{i}]': part for i, part in enumerate(value)} if isinstance(value, list) else {key: value}
        values |= {name: part.detach() for name, part in parts.items()}
    return values
