"""From a config and a command line to a run that is over, for every tree."""

import copy
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine import dump
from mmengine.config import Config
from mmengine.dist import all_gather_object, is_main_process
from mmengine.runner import Runner
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import record

from ..cfg_options import parse_options
from ..configs import RUNNER_READS, follow_variables, load_config, walk
from ..errors import MissingFileError, UnusableInputError
from ..files import written_whole
from ..quiet import import_quietly
from ..weights import unwrap
from .checkpoints import resolve_checkpoint
from .gpu import mixed_precision, use_gpu_defaults
from .preflight import check_channel_order, check_data
from .pretrained import check_checkpoint, check_start
from .slurm import set_rendezvous
from .stopping import exit_on_signals, locked_work_dir
from .terminal import WatchedRunner, is_watched


def apply_cfg_options(config: Config, options: Mapping[str, Any]) -> None:
    """Merge the settings into a config, as ``Config.merge_from_dict``.

    Variables at the top of a config, and parts of them, take effect where they have been used; see
    ``follow_variables``.

    Raises:
        ValueError: For a dict, which MMEngine would take for a string; for a field of what is None or a list; for a
            part of a variable that was copied with changes, where it would have no effect; for ``distilled`` where
            nothing was made of it, so that the model would start from scratch; or as in ``follow_variables``.
    """
    for key, value in options.items():
        for field, part in walk(value, key):
            if isinstance(part, str) and part.startswith(('dict(', '{')):
                raise UnusableInputError(
                    f'--cfg-options {key}={value}: dicts are not read here. Give their parts, as in {field}.type=NAME; '
                    f'with {field}._delete_=True nothing is left of what the config says. What it does not have yet, '
                    'such as another hook, goes into a config with this one as its _base_.'
                )
    used = [value for _, value in walk(config.model)] if 'model' in config else []
    if 'distilled' in options and ('distilled' not in config or config.distilled not in used):
        raise UnusableInputError(
            f'--cfg-options distilled={options["distilled"]}: the model of this config starts from no student. '
            'Take one that ends in repfusion or repfussion, or set model.backbone.init_cfg.'
        )
    variables, others = {}, {}
    for key, value in options.items():
        name, _, rest = key.partition('.')
        if name in config and name not in RUNNER_READS:
            if rest:
                _refuse_copied(config, name, rest, value)
            variables[key] = value
        else:
            others[key] = value
    before = {name: copy.deepcopy(config[name]) for name in {key.partition('.')[0] for key in variables}}
    _merge(config, variables)
    follow_variables(config, before)
    _merge(config, others)


def _refuse_copied(config: Config, name: str, rest: str, value: Any) -> None:
    """Refuse a part of a variable that fields have been made of, as in ``dict(dataset, ann_file=...)``."""
    variable = config[name]
    copies = [
        field.lstrip('.')
        for field, node in walk(config.to_dict())
        if isinstance(variable, Mapping)
        and isinstance(node, Mapping)
        and node != variable
        and variable.keys() <= node.keys()
        and node.get('type') == variable.get('type')
    ]
    if variable and copies:
        raise UnusableInputError(
            f'--cfg-options {name}.{rest}={value}: {name} is a variable, which was copied into {", ".join(copies)} '
            f'when the config was read. Set the part there: {copies[0]}.{rest}={value}.'
        )


def _merge(config: Config, options: Mapping[str, Any]) -> None:
    # What is deleted goes first, else it would take the other parts with it.
    for key, value in sorted(options.items(), key=lambda option: not option[0].endswith('._delete_')):
        try:
            config.merge_from_dict({key: value})
        except (TypeError, KeyError) as error:
            reason = ' '.join(str(error).split())
            raise UnusableInputError(
                f'--cfg-options {key}={value}: the config has no place for it. {reason}'
            ) from error


RUN_HOOKS = {
    'runtime_info': 'DeferredLogHook',
    'optimizer_layout': 'OptimizerLayoutHook',
    'pretrained_weights': 'PretrainedWeightsHook',
    'iteration_seed': 'IterationSeedHook',
    'epoch_position': 'EpochPositionHook',
    'interruption': 'InterruptionHook',
    'finite_loss': 'FiniteLossHook',
    'schedule': 'ScheduleHook',
    'data_errors': 'DataErrorHook',
    'data_check': 'DataCheckHook',
    'last_batch': 'LastBatchHook',
    'feature_cache': 'FeatureCacheHook',
}


@record  # the error is what torchrun ends with
def prepare_config(
    path: str,
    options: Mapping[str, Any] | Sequence[str],
    work_dir: str | None = None,
    launcher: str = 'none',
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
) -> Config:
    """Read a config and let it follow the command line.

    Args:
        path: Config file.
        options: ``--cfg-options``, as settings by field or as typed, ``KEY=VALUE``.
        work_dir: Where logs and checkpoints go; by default the config's, else ``work_dirs/<config name>``.
        launcher: What started the processes.
        resume: ``'auto'`` goes on from the newest checkpoint in the work directory; or a file.
        amp: Automatic mixed precision, on GPUs.
        auto_scale_lr: Scale the learning rate with the total batch size.

    Raises:
        RepFusionError: When there is no such config, or it cannot follow.
    """
    if os.getcwd() not in sys.path:  # modules of one's own lie there, which the config names in custom_imports
        sys.path.append(os.getcwd())
    config = load_config(path)
    _import_libraries(config)
    apply_cfg_options(config, options if isinstance(options, Mapping) else parse_options(options))
    config.launcher = launcher
    config.work_dir = work_dir or config.get('work_dir') or f'work_dirs/{Path(path).stem}'
    if resume == 'auto':
        config.resume = 'auto'
    elif resume:
        config.resume, config.load_from = True, resume
    if amp:
        if not torch.cuda.is_available():
            raise UnusableInputError('--amp needs a GPU, and torch finds none here. Leave it out to train in float32.')
        for key, value in mixed_precision().items():
            config.optim_wrapper.setdefault(key, value)
        config.optim_wrapper.type = 'AmpOptimWrapper'
    if auto_scale_lr:
        if 'base_batch_size' not in config.get('auto_scale_lr', {}):
            raise UnusableInputError(
                '--auto-scale-lr: the config does not say auto_scale_lr = dict(base_batch_size=...).'
            )
        config.auto_scale_lr.enable = True
        # MMEngine counts the images of a batch, and an update sees this many batches.
        config.auto_scale_lr.base_batch_size /= config.optim_wrapper.get('accumulative_counts', 1)
    return config


def _import_libraries(config: Config) -> None:
    """Import the other trees' libraries that the config names; MMEngine would import them with their notices."""
    types = (value for field, value in walk(config) if field.endswith('.type') and isinstance(value, str))
    named = {config.get('default_scope'), *(kind.partition('.')[0] for kind in types)}
    import_quietly(*(f'{library}.datasets' for library in sorted(named & {'mmseg', 'mmpose'})))


@record
def train(config: Config, allow_partial_init: bool = False) -> None:
    """Train, on the work directory's own lock, until the end or until SIGTERM, SIGUSR1 or Ctrl-C asks to stop.

    Args:
        config: As ``prepare_config`` gives it; ``resume='auto'`` goes on from the newest checkpoint.
        allow_partial_init: Go on where a pretrained checkpoint fits only in part.

    Raises:
        RepFusionError: When data or weights are missing or do not fit, or the work directory is in use.
    """
    with exit_on_signals(), locked_work_dir(config.work_dir, config.launcher, config.filename):
        check_data(config, ['train', 'val'])
        problems = resolve_checkpoint(config)
        runner = build_runner(config)
        _agree_where_to_start(config)
        for problem in problems:
            runner.logger.warning(problem)
        check_start(unwrap(runner.model), config, allow_partial_init)
        runner.train()


def _agree_where_to_start(config: Config) -> None:
    """Each process looks for checkpoints itself, and the first alone writes them."""
    start = Path(config.load_from).name if config.get('resume') else 'the beginning'
    if len(found := set(all_gather_object(start))) > 1:
        raise UnusableInputError(
            f'--resume: the processes would start from {", ".join(sorted(found))}. The first process writes the '
            f'checkpoints: {config.work_dir} must be a folder that all nodes share, or be copied to all of them.'
        )


@record
def evaluate(config: Config, out: str | None = None, show_dir: str | None = None) -> dict[str, float]:
    """Test the checkpoint that ``config.load_from`` names.

    Args:
        config: As ``prepare_config`` gives it.
        out: JSON file for the metrics.
        show_dir: Folder for drawn predictions; of several processes, the first draws.

    Raises:
        RepFusionError: When the checkpoint or data is missing, or the checkpoint is of another model.
    """
    if not Path(config.load_from).is_file():
        raise MissingFileError(f'There is no checkpoint {config.load_from!r} in {Path.cwd()}.')
    if show_dir:
        draw_predictions(config, show_dir)
    check_data(config, ['test'])
    runner = build_runner(config)
    check_checkpoint(unwrap(runner.model), config.load_from)
    metrics = runner.test()
    if out and is_main_process():
        with written_whole(out) as partial:
            plain = {name: value.tolist() if isinstance(value, Tensor) else value for name, value in metrics.items()}
            dump(plain, partial, file_format='json')
    return metrics


def draw_predictions(config: Config, folder: str) -> None:
    """Switch the library's own visualization hook on, for every image.

    Raises:
        UnusableInputError: When the config is of no library whose predictions can be drawn.
    """
    folder, scope = os.path.abspath(folder), config.get('default_scope')
    hooks = {
        'mmpretrain': {'type': 'VisualizationHook', 'enable': True, 'interval': 1, 'resize': 224, 'out_dir': folder},
        'mmseg': {'type': 'SegVisualizationHook', 'draw': True},
        'mmpose': {'type': 'PoseVisualizationHook', 'enable': True, 'kpt_thr': 0, 'out_dir': folder},
    }
    if scope not in hooks:
        raise UnusableInputError(
            f'--show-dir: the config says default_scope={scope!r}; {", ".join(hooks)} can draw predictions.'
        )
    config.setdefault('default_hooks', {})
    config.default_hooks.visualization = hooks[scope]
    if scope == 'mmseg':  # its hook leaves the folder to the visualizer
        config.visualizer.vis_backends = [{'type': 'LocalVisBackend', 'save_dir': folder, 'img_save_dir': '.'}]


def build_runner(config: Config, progress: bool = True) -> Runner:
    """Build the Runner, with or without GPUs, in one process or several, with a line of ``progress``.

    Raises:
        ValueError: When a diffusion model would see red as blue, or there are fewer GPUs than processes.
    """
    check_channel_order(config)
    add_run_hooks(config)
    use_gpu_defaults(config)
    if config.launcher == 'slurm':
        set_rendezvous()
        config.launcher = 'pytorch'  # from here on it is as if torchrun had started the processes
    refuse_more_processes_than_gpus()
    limit_workers(config)
    os.environ.setdefault('LOCAL_RANK', '0')
    if config.launcher == 'pytorch' and not torch.cuda.is_available():
        # MMEngine's own set-up calls torch.cuda.set_device; it leaves an initialised process group alone.
        torch.distributed.init_process_group('gloo')
        config.model_wrapper_cfg = {
            'type': 'MMDistributedDataParallel',
            'device_ids': None,
            'broadcast_buffers': False,
            'find_unused_parameters': config.get('find_unused_parameters', False),
        } | dict(config.get('model_wrapper_cfg') or {})
    return (WatchedRunner if progress and is_watched() else Runner).from_cfg(config)


def limit_workers(config: Config) -> None:
    """Start no more data workers than this process has cores: more only wait for each other."""
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    for split in ('train', 'val', 'test'):
        if loader := config.get(f'{split}_dataloader'):
            loader.num_workers = min(loader.get('num_workers', 0), max(1, cores))


def refuse_more_processes_than_gpus() -> None:
    """CUDA itself would call it an invalid device ordinal."""
    processes, gpus = int(os.environ.get('LOCAL_WORLD_SIZE', 1)), torch.cuda.device_count()
    if 0 < gpus < processes:
        raise UnusableInputError(
            f'{processes} processes were asked for, and torch finds {gpus} GPU(s) here. Give {gpus} as <GPUS>; '
            'with CUDA_VISIBLE_DEVICES= the processes run without GPUs.'
        )


def add_run_hooks(config: Config) -> None:
    """Add the hooks that every run has, whatever its tree. ``default_hooks`` changes them, None leaves one out."""
    config.setdefault('default_hooks', {})
    hooks = config.default_hooks
    for name, hook in RUN_HOOKS.items():
        if hooks.setdefault(name, {}) is None:
            del hooks[name]  # MMEngine knows None of its own hooks only
        else:
            hooks[name].setdefault('type', f'mmpretrain.{hook}')
