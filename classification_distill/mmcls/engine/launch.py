"""From a config and a command line to a Runner, for every tree."""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from .cfg_options import apply_cfg_options
from .channel_order import check_channel_order
from .slurm import set_rendezvous
from .terminal import TerminalRunner, on_terminal

RUN_HOOKS = {
    'pretrained_weights': 'PretrainedWeightsHook',
    'iteration_seed': 'IterationSeedHook',
    'epoch_position': 'EpochPositionHook',
    'interruption': 'InterruptionHook',
    'finite_loss': 'FiniteLossHook',
    'data_errors': 'DataErrorHook',
}


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that training and testing share, under OpenMMLab's names."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help="where logs and checkpoints go (the config's work_dir, else work_dirs/<config name>)"
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={}, help='settings to override, as key.sub=value'
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes; dist_train.sh and slurm_train.sh say it (%(default)s)',
    )
    parser.add_argument(
        '--local-rank', '--local_rank', type=int, default=0, help='set by older launchers (%(default)s)'
    )


def load_config(args: argparse.Namespace) -> Config:
    """Read the config, apply ``--cfg-options``, and settle the launcher and the work directory.

    Raises:
        FileNotFoundError: When there is no such config.
    """
    if not Path(args.config).is_file():
        raise FileNotFoundError(f'There is no config {args.config!r} in {Path.cwd()}.')
    sys.path.append(os.getcwd())  # modules of one's own lie there, which the config names in custom_imports
    config = Config.fromfile(args.config)
    apply_cfg_options(config, args.cfg_options)
    config.launcher = args.launcher
    config.work_dir = args.work_dir or config.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    return config


def build_runner(config: Config, progress: bool = True) -> Runner:
    """Build the Runner, with or without GPUs, in one process or several; at a terminal with a ``progress`` line.

    Raises:
        ValueError: When a diffusion model would see red as blue, or there are fewer GPUs than processes.
    """
    check_channel_order(config)
    refuse_code_in_checkpoints()
    add_run_hooks(config)
    if config.launcher == 'slurm':
        set_rendezvous()
        config.launcher = 'pytorch'  # from here on it is as if torchrun had started the processes
    refuse_more_processes_than_gpus()
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
    return (TerminalRunner if progress and on_terminal() else Runner).from_cfg(config)


def refuse_more_processes_than_gpus() -> None:
    """CUDA itself would call it an invalid device ordinal."""
    processes, gpus = int(os.environ.get('LOCAL_WORLD_SIZE', 1)), torch.cuda.device_count()
    if 0 < gpus < processes:
        raise ValueError(
            f'{processes} processes were asked for, and torch finds {gpus} GPU(s) here. Give {gpus} as <GPUS>; '
            'with CUDA_VISIBLE_DEVICES= the processes run without GPUs.'
        )


def add_run_hooks(config: Config) -> None:
    """Add the hooks that every run has, whatever its tree. ``default_hooks`` changes them, None leaves one out."""
    config.setdefault('default_hooks', {})
    hooks = config.default_hooks
    for name, hook in RUN_HOOKS.items():
        if hooks.get(name, {}) is not None:
            hooks.setdefault(name, {})
            hooks[name].setdefault('type', f'mmpretrain.{hook}')


def refuse_code_in_checkpoints() -> None:
    """Let torch unpickle tensors and what MMEngine keeps beside them, and nothing that could run code."""
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    scalars = [np.dtype, np._core.multiarray.scalar, np._core.multiarray._reconstruct, np.ndarray]
    dtypes = [type(np.dtype(name)) for name in ('float64', 'float32', 'int64', 'int32', 'uint8')]
    torch.serialization.add_safe_globals([HistoryBuffer, bytes, *scalars, *dtypes])
