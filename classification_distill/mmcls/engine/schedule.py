"""The schedule of a run that is resumed with another one."""

import copy
from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmpretrain.registry import HOOKS

from .terminal import AT_TERMINAL

# What a scheduler counts, or derives from the optimizer, of what its state holds.
PROGRESS = ('last_step', '_global_step', '_last_value', 'base_values', 'verbose')


@HOOKS.register_module()
class ScheduleHook(Hook):
    """Let a resumed run follow the config's learning rate and schedule, where they are no longer the checkpoint's.

    MMEngine loads all of a scheduler's settings from the checkpoint, so that a run that was to go on for longer would
    stay at the learning rate that the shorter one ended with. Here the config's schedule is replayed up to the
    iteration, and the log says so. One that follows a metric, as ``ReduceOnPlateauLR``, cannot be replayed, and stays
    the checkpoint's.
    """

    def __init__(self):
        self._resumed = False

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        self._resumed = runner._resume

    def before_train(self, runner) -> None:
        optimizer, schedulers = runner.optim_wrapper, runner.param_schedulers
        if (
            not self._resumed
            or 'optim_wrapper' not in runner.cfg
            or not isinstance(optimizer, OptimWrapper)
            or not isinstance(schedulers, list)
            or any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers)
        ):
            return
        fresh = runner.build_optim_wrapper(copy.deepcopy(runner.cfg.optim_wrapper))
        runner.optim_wrapper, runner.param_schedulers = fresh, None  # a rate is scaled before there are schedules
        try:
            runner.scale_lr(fresh, runner.auto_scale_lr)
            asked = runner.build_param_scheduler(copy.deepcopy(runner.cfg.param_scheduler))
        finally:
            runner.optim_wrapper, runner.param_schedulers = optimizer, schedulers
        differences = [*_differences(optimizer, schedulers, fresh, asked, runner.iter)]
        if not differences:
            return
        _replay(runner, asked)
        for group, followed in zip(optimizer.param_groups, fresh.param_groups, strict=True):
            group.update({key: value for key, value in followed.items() if key != 'params'})
        for scheduler in asked:
            scheduler.optimizer = optimizer
        runner.param_schedulers = asked
        runner.logger.warning(
            f'The config has another schedule than the checkpoint: {"; ".join(differences[:5])}. It is followed from '
            f'here as if it had been so from the start: learning rate {optimizer.param_groups[0]["lr"]:.4g}.',
            extra=AT_TERMINAL,
        )


def _differences(
    optimizer: OptimWrapper, schedulers: list, fresh: OptimWrapper, asked: list, iteration: int
) -> Iterator[str]:
    for group, new in zip(optimizer.param_groups, fresh.param_groups, strict=True):
        old_rate, new_rate = (each.get('initial_lr', each['lr']) for each in (group, new))
        if old_rate != new_rate:
            yield f'learning rate {old_rate:.4g} there, {new_rate:.4g} here'
            break
    if [type(each) for each in schedulers] != [type(each) for each in asked]:
        yield f'{[type(each).__name__ for each in schedulers]} there, {[type(each).__name__ for each in asked]} here'
        return
    for old, new in zip(schedulers, asked, strict=True):
        saved, wanted = old.state_dict(), new.state_dict()
        if not new.by_epoch and saved['_global_step'] != iteration:
            yield f'{type(new).__name__} at iteration {saved["_global_step"]} there, {iteration} here'
        for key in wanted.keys() - set(PROGRESS):
            if saved.get(key) != wanted[key]:
                yield f'{type(new).__name__}.{key} {saved.get(key)} there, {wanted[key]} here'


def _replay(runner, schedulers: list) -> None:
    """Step the schedulers as ParamSchedulerHook has, up to the run's iteration."""
    by_epoch = runner.max_epochs > 1 and runner.epoch
    length = runner.iter // runner.epoch if by_epoch else 0
    for iteration in range(1, runner.iter + 1):
        for scheduler in schedulers:
            if not scheduler.by_epoch or (length and iteration % length == 0 and iteration // length <= runner.epoch):
                scheduler.step()
