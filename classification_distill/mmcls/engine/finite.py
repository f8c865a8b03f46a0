"""Losses and rewards that are no numbers end a run before they enter the weights."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_gather_object, all_reduce, barrier, get_rank
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import save_checkpoint
from mmengine.structures import BaseDataElement
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from ..datasets.samples import SampleBatch
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
    if isinstance(batch, SampleBatch):
        yield from batch
    elif isinstance(batch, BaseDataElement):
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

    A fused optimizer on a GPU is told on the device to leave the step out, so that nobody waits for the losses before
    the backward pass; they are looked at when it has been asked for. Others wait.

    Gradients are not looked at: with AMP some overflow, and the scaler skips their step. Where they spoil the weights,
    the next step's loss shows it, and the message says so.

    Args:
        max_skipped: Steps in a row that may be left out instead of stopping, on all processes. Their batches are saved
            all the same. All buffers are then copied before each step, to be put back.

    Attributes:
        saves (bool): Whether anything is saved; a dry run leaves nothing behind.

    Raises:
        NonFiniteError: On all processes, with the names of the values and of the images.
    """

    def __init__(self, max_skipped: int = 0):
        self.max_skipped = max_skipped
        self.saves = True
        self._num_skipped = 0
        self._skip = False

    def before_train(self, runner) -> None:
        self._model = unwrap(runner.model)
        self._handle = self._model.register_forward_hook(partial(self._check, runner), with_kwargs=True)
        self._handles = []
        optim_wrapper = runner.optim_wrapper
        self._is_told = _leaves_out_steps(optim_wrapper)
        if self._is_told:
            self._handles = [
                optim_wrapper.optimizer.register_step_pre_hook(self._tell_optimizer),
                optim_wrapper.optimizer.register_step_post_hook(self._untell_optimizer),
            ]
        optim_wrapper.update_params = partial(self._update_or_skip, runner, optim_wrapper.update_params)

    def after_train(self, runner) -> None:
        for handle in [self._handle, *self._handles]:
            handle.remove()
        del runner.optim_wrapper.update_params  # the class's own is there again

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._batch = data_batch
        if self.max_skipped:
            self._buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}

    def _check(self, runner, model: nn.Module, args: tuple, kwargs: dict, outputs) -> None:
        """See what the model returns in mode ``loss``."""
        if kwargs.get('mode') != 'loss':
            return
        self._values = _flatten(outputs)
        total = torch.stack([value.float().sum() for value in self._values.values()]).sum()
        self._is_bad = (~torch.isfinite(total)).float()  # one value, whatever the number of losses
        if runner.distributed:
            all_reduce(self._is_bad, 'max')
        self._is_bad_here = self._is_bad
        if not self._is_told:
            self._look(runner)
        elif self._is_bad.is_cuda:
            self._is_bad_here = torch.empty((), pin_memory=True).copy_(self._is_bad, non_blocking=True)
            self._is_there = torch.cuda.Event()
            self._is_there.record()

    def _look(self, runner) -> None:
        if self._is_bad_here:
            self._stop_or_skip(runner, self._find(runner, self._values))
        else:
            self._num_skipped = 0

    def _tell_optimizer(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        """Fused optimizers leave out a step for which ``found_inf`` is 1, as GradScaler tells them, too."""
        for group in optimizer.param_groups:
            for weight in group['params'] if group.get('momentum') else ():
                # Left out, SGD's first step would leave as momentum what was in the memory.
                if weight.grad is not None and optimizer.state[weight].get('momentum_buffer') is None:
                    optimizer.state[weight]['momentum_buffer'] = torch.zeros_like(weight)
        self._has_scaler = hasattr(optimizer, 'found_inf')
        optimizer.found_inf = self._is_bad.maximum(optimizer.found_inf) if self._has_scaler else self._is_bad

    def _untell_optimizer(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        if not self._has_scaler:
            del optimizer.found_inf

    def _find(self, runner, values: dict[str, Tensor]) -> str:
        """Save this process's batch where it is concerned, and say what all processes found."""
        bad = [key for key, value in values.items() if not value.isfinite().all()]
        finding = None
        if bad:
            named = ', '.join(f'{key} is {values[key].flatten().tolist()}' for key in bad)
            finding = f'Rank {get_rank()}: {named} for {name_images(self._batch)}.{self._save_batch(runner, values)}'
        findings = [finding for finding in all_gather_object(finding) if finding]
        if weights := nonfinite_parameters(self._model):
            findings.append(
                f'{weights}, so an earlier step spoilt them: try a lower learning rate, or '
                'optim_wrapper.clip_grad.max_norm=1.'
            )
        return '\n'.join([f'Values that are not finite, at iteration {runner.iter + 1}.', *findings])

    def _save_batch(self, runner, values: dict[str, Tensor]) -> str:
        if not self.saves:
            return ''
        path = Path(runner.work_dir, f'non_finite_iter_{runner.iter + 1}_rank{get_rank()}.pth')
        timesteps = getattr(self._model, 'last_timesteps', None)
        contents = to_plain({'batch': self._batch, 'values': values, 'timesteps': timesteps})
        save_checkpoint(contents, str(path), backend_args=BACKEND)
        return f' The batch is in {path}.'

    def _stop_or_skip(self, runner, message: str) -> None:
        if self._num_skipped < self.max_skipped:
            self._num_skipped += 1
            self._skip = True
            runner.logger.warning(f'{message}\nThe step is skipped, {self._num_skipped} in a row.')
            return
        if not self.saves:
            raise NonFiniteError(message)
        name = f'non_finite_iter_{runner.iter + 1}.pth'
        save_safely(runner, name, meta={'epoch': runner.epoch, 'iter': runner.iter}, resume_from_it=False)
        barrier()  # a launcher may kill the others as soon as one process ends
        raise NonFiniteError(
            f'{message}\nWeights and optimizer from before the step are in {Path(runner.work_dir, name)}: --resume '
            'with it runs into the step again. Regular checkpoints are as they were. To leave out such steps, up '
            'to N in a row: --cfg-options default_hooks.finite_loss.max_skipped=<N>.'
        )

    def _update_or_skip(self, runner, update_params, *args, **kwargs) -> None:
        if not self._skip:
            update_params(*args, **kwargs)
            if self._is_told:
                if self._is_bad.is_cuda:
                    self._is_there.synchronize()  # for the forward pass; the rest of the step goes on
                self._look(runner)
        if self._skip:
            self._skip = False
            for name, buffer in self._model.named_buffers():
                buffer.copy_(self._buffers[name])


def _leaves_out_steps(optim_wrapper: OptimWrapper) -> bool:
    """Whether every step is one of a fused optimizer, which can be told on the device to leave it out."""
    if not isinstance(optim_wrapper, OptimWrapper) or optim_wrapper._accumulative_counts > 1:
        return False
    return all(group.get('fused') and not group.get('dampening') for group in optim_wrapper.param_groups)


def _flatten(outputs: dict[str, Tensor | list[Tensor]]) -> dict[str, Tensor]:
    """The values by name, those in lists as ``name[0]``, ..."""
    values = {}
    for key, value in outputs.items():
        parts = {f'{key}[{i}]': part for i, part in enumerate(value)} if isinstance(value, list) else {key: value}
        values |= {name: part.detach() for name, part in parts.items()}
    return values
