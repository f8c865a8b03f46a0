"""``tools/train.py --dry-run``: build all that a training builds, try one step, and say what it costs."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.registry import OPTIMIZERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmpretrain.registry import LOOPS

from ..configs import find_class
from ..datasets.samples import load_spread
from ..errors import RepFusionError, UnusableInputError
from ..weights import unwrap
from .checkpoints import resolve_checkpoint
from .data_check import DataCheckHook
from .finite import FiniteLossHook
from .last_batch import LastBatchHook
from .launch import build_runner
from .preflight import check_data
from .pretrained import check_start
from .step_cost import StepCost, StepTime, measure_step, measure_time

IMAGES = 4  # as many as losses need that compare images with each other


class DryRunError(RepFusionError):
    """A training that would fail."""


def dry_run(config: Config, allow_partial_init: bool = False) -> None:
    """Print what a training of ``config`` costs; only decoded images are left behind, which it needs.

    Raises:
        DryRunError: With a sentence for each problem that would end the training.
    """
    problems: list[str] = []
    workers = config.train_dataloader.get('num_workers', 0)
    with _collect_errors(problems):
        check_data(config, ['train', 'val'])
    with _collect_errors(problems):
        for unused in resolve_checkpoint(config):
            print(unused)
    with tempfile.TemporaryDirectory(prefix='dry_run_') as folder, _room_for_features(config):
        # MMEngine's loggers are known by name: one of the training that follows must not be taken for this one's.
        config.merge_from_dict({'work_dir': folder, 'log_level': 'ERROR', 'experiment_name': Path(folder).name})
        config.setdefault('default_hooks', {}).interruption = None  # there is nothing to save
        with _collect_errors(problems):
            _replace_loop(config)
            find_class('optim_wrapper.optimizer', config.optim_wrapper.optimizer, OPTIMIZERS)
            runner = build_runner(config, progress=False)
            model = unwrap(runner.model)
            check_start(model, config, allow_partial_init)
        if not problems:
            with _collect_errors(problems):
                runner.train()
    if problems:
        raise DryRunError('\n- '.join(['This training would fail:', *problems]))
    if is_main_process():
        print('\n'.join(_describe(runner.train_loop, workers)))


@contextmanager
def _room_for_features(config: Config) -> Iterator[None]:
    """Have features kept in a folder that goes away again, on the disk where those of the training will be."""
    if not (cache := config.model.get('feature_cache')):
        yield
        return
    place = Path(cache.get('folder') or config.work_dir).absolute()
    place = next(folder for folder in (place, *place.parents) if folder.is_dir())
    if not os.access(place, os.W_OK):
        raise UnusableInputError(f'model.feature_cache: {place} cannot be written to. Give it another folder.')
    with tempfile.TemporaryDirectory(prefix='.dry_run_', dir=place) as folder:
        cache.folder = folder
        yield


class _Trial:
    """Instead of the training: a step on a few images, and a validation of them."""

    cost: StepCost
    time: StepTime
    remarks: Sequence[str] = ()

    def run(self) -> None:
        runner = self.runner
        runner.call_hook('before_train')
        images, batch = load_spread(self.dataloader, min(IMAGES, self.dataloader.batch_size))
        for hook in runner.hooks:
            if isinstance(hook, FiniteLossHook):
                hook.saves = False
                hook.before_train_iter(runner, 0, batch)
        self.cost = measure_step(runner, batch, images, self.dataloader.batch_size)
        for hook in runner.hooks:
            if isinstance(hook, DataCheckHook):
                self.remarks = hook.remarks
            if isinstance(hook, LastBatchHook):
                hook.check(self.dataloader, images)
        self.time = measure_time(runner, partial(load_spread, self.dataloader), IMAGES, self.dataloader.batch_size)
        if runner.val_loop is not None:
            runner.call_hook('before_val')
            _, batch = load_spread(runner.val_dataloader, IMAGES)
            runner.model.eval()
            with torch.no_grad():
                runner.model.val_step(batch)


@LOOPS.register_module()
class DryEpochLoop(_Trial, EpochBasedTrainLoop):
    """Takes the place of ``EpochBasedTrainLoop``."""


@LOOPS.register_module()
class DryIterLoop(_Trial, IterBasedTrainLoop):
    """Takes the place of ``IterBasedTrainLoop``."""


def _replace_loop(config: Config) -> None:
    settings = config.train_cfg
    by_epoch = settings.pop('by_epoch', True)
    kind = settings.pop('type', EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop)
    loops = {EpochBasedTrainLoop: DryEpochLoop, IterBasedTrainLoop: DryIterLoop}
    found = find_class('train_cfg', {'type': kind}, LOOPS)
    if found not in loops:
        raise UnusableInputError(f'train_cfg.type={kind!r}: --dry-run knows {" and ".join(k.__name__ for k in loops)}.')
    settings.type = f'mmpretrain.{loops[found].__name__}'
    # Few images are loaded, and at once.
    config.train_dataloader.update(num_workers=0, persistent_workers=False)
    config.train_dataloader.pop('prefetch_factor', None)


@contextmanager
def _collect_errors(problems: list[str]) -> Iterator[None]:
    """Whatever is raised is what a dry run is to find."""
    try:
        yield
    except Exception as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        known = isinstance(error, OSError | ValueError | LookupError)
        problems.append(str(message) if known else f'{type(error).__name__}: {message}')


def _describe(trial: _Trial, workers: int) -> Iterator[str]:
    cost, runner = trial.cost, trial.runner
    data = [f'{len(trial.dataloader.dataset):,} training images']
    if runner.val_loop is not None:
        data.append(f'{len(runner.val_dataloader.dataset):,} validation images')
    parts = ', '.join(f'{name} {_short(count)}' for name, count in cost.trained.items())
    device = next(runner.model.parameters()).device
    yield 'Dry run passed: everything was built and one training step ran.'
    yield from (f'note        {remark}' for remark in trial.remarks)
    yield f'data        {", ".join(data)}; {runner.max_iters:,} iterations'
    yield f'parameters  {_short(sum(cost.trained.values()))} trained ({parts}), {_short(cost.frozen)} frozen'
    if reads := getattr(getattr(unwrap(runner.model), 'teacher', None), 'reads', ''):
        yield f'teacher     {reads}'
    yield f'compute     {_short(cost.flops)}FLOP a step of {cost.batch} images, in convolutions and matrix products'
    yield (
        f'memory      about {_gib(cost.memory)} GiB on {device}: weights {_gib(cost.weights)}, gradients '
        f'{_gib(cost.gradients)}, optimizer {_gib(cost.optimizer)}, feature maps {_gib(cost.maps)}'
    )
    seconds = trial.time.of_iteration(workers)
    left = timedelta(seconds=round(seconds * runner.max_iters))
    yield f'time        about {left} of training here, {seconds:.2g} s an iteration, without validation'
    if (cache := getattr(unwrap(runner.model), 'feature_cache', None)) is not None:
        yield f'cache       features on disk, up to {_gib(cache.bytes)} GiB when full'
    yield f'            Measured on {cost.images} images, time on {trial.time.images}; kernels need work space, too.'


def _short(number: float) -> str:
    for factor, unit in ((1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if number >= factor:
            return f'{number / factor:.3g} {unit}'
    return str(number)


def _gib(size: int) -> str:
    return f'{size / 2**30:.2g}'
