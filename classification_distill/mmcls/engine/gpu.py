"""What lets a GPU work without waiting for Python: defaults of a run, and losses that are read when they are logged."""

import inspect

import torch
from mmengine.config import Config
from mmengine.hooks import Hook, LoggerHook, RuntimeInfoHook
from mmengine.registry import OPTIMIZERS
from mmpretrain.registry import HOOKS
from torch import Tensor

from ..configs import is_a
from ..models.classifiers.base import BaseDistiller
from ..models.generators.ddpm_trainer import DDPMTrainer

MIXED = (BaseDistiller, DDPMTrainer)


def use_gpu_defaults(config: Config) -> None:
    """On a GPU, let the optimizer be fused, and what distils or trains a diffusion model compute in bfloat16.

    What the config says stays: ``optim_wrapper.type='OptimWrapper'`` trains in float32,
    ``optim_wrapper.optimizer.fused=False`` is torch's loop over the parameters.
    """
    if not torch.cuda.is_available() or not config.get('optim_wrapper'):
        return
    wrapper = config.optim_wrapper
    if 'optimizer' in wrapper:
        optimizer = OPTIMIZERS.get(wrapper.optimizer.type) if isinstance(wrapper.optimizer.type, str) else None
        settled = {'fused', 'foreach'} & wrapper.optimizer.keys()
        if optimizer is not None and not settled and 'fused' in inspect.signature(optimizer).parameters:
            wrapper.optimizer.fused = True
    if 'type' not in wrapper and is_a(config.model, MIXED) and torch.cuda.is_bf16_supported(including_emulation=False):
        wrapper.update(mixed_precision())


def mixed_precision() -> dict[str, object]:
    """Settings of an ``optim_wrapper`` for bfloat16, which has float32's range, or on older GPUs float16."""
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return {'type': 'AmpOptimWrapper', 'dtype': 'bfloat16', 'loss_scale': 1.0}
    return {'type': 'AmpOptimWrapper', 'dtype': 'float16', 'loss_scale': 'dynamic'}


@HOOKS.register_module()
class OptimizerLayoutHook(Hook):
    """Let a resumed optimizer work as it was built, and not as the one that the checkpoint is of.

    ``load_state_dict`` also restores ``fused`` and ``foreach``, and moments as their weights lay in memory, of which
    fused kernels take no notice: a checkpoint of a GPU on a CPU, or the other way round, would go wrong.
    """

    priority = 'HIGHEST'

    def before_train(self, runner) -> None:
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
        if not isinstance(optimizer, torch.optim.Optimizer):
            return
        for group in optimizer.param_groups:
            group.update({key: optimizer.defaults[key] for key in ('fused', 'foreach') if key in optimizer.defaults})
        for weight, state in optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                    state[key] = torch.empty_like(weight).copy_(value)
                elif key == 'step' and isinstance(value, Tensor) and optimizer.defaults.get('fused'):
                    state[key] = value.to(weight.device)


def read_losses(runner) -> None:
    """Bring the run's log up to date, before it is saved."""
    for hook in runner.hooks:
        if isinstance(hook, DeferredLogHook):
            hook.flush(runner)


@HOOKS.register_module()
class DeferredLogHook(RuntimeInfoHook):
    """MMEngine's hook that hands the step's losses to the log, without waiting for the device in each step.

    They are kept on the device, and read, all at once, when LoggerHook is about to log or a checkpoint is saved.
    """

    def __init__(self):
        self._kept: list[dict[str, Tensor]] = []

    def before_train(self, runner) -> None:
        super().before_train(runner)
        self._interval = min((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), default=1)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._kept.append({key: torch.as_tensor(value).detach() for key, value in (outputs or {}).items()})
        if self.every_n_inner_iters(batch_idx, self._interval) or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self.flush(runner)

    def flush(self, runner) -> None:
        """Read what is kept."""
        kept, self._kept = [step for step in self._kept if step], []
        values = [value.float().mean() for step in kept for value in step.values()]
        numbers = iter(torch.stack(values).tolist() if values else [])
        for step in kept:
            for key in step:
                runner.message_hub.update_scalar(f'train/{key}', next(numbers))
