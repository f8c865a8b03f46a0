"""Speed, memory, data loading and scaling, as ratios in one run on one machine where they depend on it."""

import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from mmengine.config import Config

from ..cfg_options import parse_options
from ..configs import is_a, load_config
from ..engine.launch import apply_cfg_options
from ..errors import UnusableInputError
from ..files import write_text
from ..models.classifiers.repfusion import RepFusion
from . import cache, data, loading, processes, scaling, step, train
from .presets import PRESETS, preset_model


def _mebibytes(value: float) -> str:
    return f'{value / 2**20:.0f}'


def _billions(value: float) -> str:
    return f'{value / 1e9:.2f}'


COLUMNS = {
    'way': ('way', '{}'),
    'source': ('files from', '{}'),
    'start_up': ('start-up, s', '{:.1f}'),
    'start_up_processor': ('CPU time, s', '{:.1f}'),
    'start_up_memory': ('its peak, MiB', _mebibytes),
    'list_memory': ('list, MiB', _mebibytes),
    'workers': ('workers', '{}'),
    'worker_memory': ('memory per worker, MiB', _mebibytes),
    'epoch_boundary': ('between epochs, s', '{:.2f}'),
    'images_per_second': ('images/s', '{:.2f}'),
    'ratio': ('ratio', '{:.2f}'),
    'efficiency': ('efficiency', '{:.0%}'),
    'processor_efficiency': ('by processor time', '{:.0%}'),
    'load_seconds': ('s', '{:.1f}'),
    'peak_memory': ('peak memory, MiB', _mebibytes),
    'private_memory': ('kept for itself, MiB', _mebibytes),
    'read': ('read from disk, MiB', _mebibytes),
    'teacher_flops': ('teacher, GFLOP/image', _billions),
    'step_flops': ('step, GFLOP/image', _billions),
    'teacher_share': ("teacher's share of peak", '{:.0%}'),
    'share_of_peak': ('share of peak', '{:.0%}'),
    'data_share': ('waiting for data', '{:.1%}'),
    'idle_share': ('device idle', '{:.0%}'),
    'cache_hits': ('found in the cache', '{:.0%}'),
    'disk': ('on disk, MiB', _mebibytes),
    'loss': ('last loss', '{:.4f}'),
}


def table(rows: list[dict], columns: dict, transposed: bool = False) -> str:
    """The rows as a Markdown table; ``transposed``, a row is a column."""
    columns = {key: column for key, column in columns.items() if key in rows[0]}
    lines = [[label for label, _ in columns.values()]]
    for row in rows:
        lines.append([f.format(row[k]) if isinstance(f, str) else f(row[k]) for k, (_, f) in columns.items()])
    if transposed:
        lines = list(zip(*lines, strict=True))
    lines.insert(1, ['---'] * len(lines[0]))
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def benchmark(command: str, model: str, cfg_options: Sequence[str] = (), out: Path | None = None, **settings) -> str:
    """Measure, and write what was measured as a table.

    Args:
        command: ``step``, ``processes``, ``train``, ``cache``, ``data``, ``scaling`` or ``loading``.
        model: A distillation config; for the first two also one of ``PRESETS``; for the last the folder of a pipeline.
        cfg_options: Settings to override in the config, ``KEY=VALUE``.
        out: JSON file for everything measured.
        settings: Of the command, as ``tools/benchmark.py`` has them.

    Returns:
        str: The setting in a line, and the table.

    Raises:
        UnusableInputError: When the config is not there, or not of its kind.
    """
    if out and not out.parent.is_dir():
        raise UnusableInputError(f'--json {out}: there is no folder {out.parent}.')
    if command == 'loading':
        further, rows = {}, loading.measure(Path(model), **settings)
    else:
        measure = _measure_model if command in ('step', 'processes') else _measure_config
        further, rows = measure(command, model, parse_options(cfg_options), **settings)
    setting = {
        'command': command,
        'model': model,
        'device': torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
        'diffusers': diffusers.__version__,
        'load': round(os.getloadavg()[0], 1),
    } | further
    if out:
        write_text(out, json.dumps(setting | {'rows': rows}, indent=2) + '\n')
    lines = table(rows, scaling.QUANTITIES if command == 'scaling' else COLUMNS, command == 'scaling')
    return ', '.join(f'{key} {value}' for key, value in setting.items()) + f'\n{lines}'


def _load(model: str, cfg_options: Mapping[str, Any], presets: str = 'not') -> Config:
    if not Path(model).is_file():
        raise UnusableInputError(f'{model!r} is {presets} a config file in {Path.cwd()}.')
    config = load_config(model)
    apply_cfg_options(config, cfg_options)
    if not is_a(config.get('model', {}), RepFusion):
        raise UnusableInputError(f'{model} is no distillation config: its model is not a RepFusion.')
    return config


def _measure_model(
    command: str, model: str, cfg_options: Mapping[str, Any], batch_size: int | None, rounds: int, **several
) -> tuple[dict, list[dict]]:
    """Measure ``step`` or ``processes``, which take a preset or a config."""
    measure = step.measure if command == 'step' else processes.measure
    if model in PRESETS:
        if cfg_options:
            raise UnusableInputError(f'--cfg-options change a config, and {model} is a preset.')
        batch_size = batch_size or PRESETS[model][2][torch.cuda.is_available()]
        with tempfile.TemporaryDirectory() as folder:
            return {'batch_size': batch_size}, measure(
                preset_model(model, Path(folder)), batch_size, rounds=rounds, **several
            )
    config = _load(model, cfg_options, f'neither a preset ({", ".join(PRESETS)}) nor')
    batch_size = batch_size or config.train_dataloader.batch_size
    described = config.model.to_dict() | {'data_preprocessor': config.get('data_preprocessor')}
    return {'batch_size': batch_size}, measure(described, batch_size, rounds=rounds, **several)


def _measure_config(command: str, model: str, cfg_options: Mapping[str, Any], **settings) -> tuple[dict, list[dict]]:
    """Measure ``train``, ``cache``, ``data`` or ``scaling``; the settings that count, and the rows."""
    config = _load(model, cfg_options)
    batch = {'batch_size': config.train_dataloader.batch_size}
    if command == 'train':
        return batch, train.measure(config, **settings)
    if command == 'cache':
        return batch | {'epochs': config.train_cfg.max_epochs}, cache.measure(config)
    try:
        if command == 'scaling':
            assume = parse_options(settings['assume'])
            scaling.check(config, assume)
            further, rows = scaling.measure(config, settings['gpus'], assume)
            return batch | further, rows
        data.check(config)
    except ValueError as error:
        raise UnusableInputError(f'{model}: {error}') from error
    counted = batch | {'entries': settings['entries'], 'step_ms': settings['step_ms']}
    step_seconds = settings.pop('step_ms') / 1e3
    return counted, data.measure(config, step=step_seconds, **settings)
