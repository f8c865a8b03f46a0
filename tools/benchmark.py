"""Measure speed, memory, data loading and scaling, as ratios in one run on one machine where they depend on it."""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

import benchmark_data
import benchmark_processes
import benchmark_scaling
import benchmark_step
import benchmark_train
import diffusers
import torch
from benchmark_presets import PRESETS, preset_model
from mmcls.configs import is_a
from mmcls.models import RepFusion
from mmengine.config import Config, DictAction


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    step = commands.add_parser('step', help='one training step, with each option of the teacher on and off')
    processes = commands.add_parser('processes', help='one training step in one process and in several')
    processes.add_argument('--processes', type=int, default=2, help='number of processes (%(default)s)')
    for command in (step, processes):
        command.add_argument('model', help=f'{", ".join(PRESETS)} (random weights), or a distillation config')
        command.add_argument('--batch-size', type=int, help='images a step and process (a preset has its own)')
        command.add_argument('--rounds', type=int, default=7, help='turns that each way gets (%(default)s)')
    train = commands.add_parser('train', help='training through the runner, data loading included')
    train.add_argument('--iterations', type=int, default=50, help='iterations each way (%(default)s)')
    data = commands.add_parser('data', help='data loading with a very long list of made files')
    data.add_argument('--entries', type=int, default=1_300_000, help='length of the list (%(default)s)')
    data.add_argument('--workers', type=int, nargs='+', default=[1, 2, 4], help='worker processes (%(default)s)')
    data.add_argument('--step-ms', type=float, default=150, help='length of the step to keep up with (%(default)s)')
    data.add_argument('--batches', type=int, default=30, help='batches a measurement (%(default)s)')
    data.add_argument('--folder', type=Path, help='where to make the files: the disk that is measured')
    scaling = commands.add_parser('scaling', help='training on many GPUs, on paper')
    scaling.add_argument('--gpus', type=int, nargs='+', default=[1, 8, 64, 512], help='numbers of GPUs (%(default)s)')
    scaling.add_argument('--assume', nargs='+', action=DictAction, default={}, help='of the machines: tflops=120 ...')
    for command in (train, data, scaling):
        command.add_argument('model', help='distillation config')
    for command in commands.choices.values():
        command.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, help='settings to override')
        command.add_argument('--json', type=Path, help='also write everything measured to this file')
    return parser, parser.parse_args()


def load_config(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Config:
    if not Path(args.model).is_file():
        presets = f'neither a preset ({", ".join(PRESETS)}) nor' if hasattr(args, 'rounds') else 'not'
        parser.error(f'{args.model!r} is {presets} a config file in {Path.cwd()}.')
    config = Config.fromfile(args.model)
    config.merge_from_dict(args.cfg_options)
    if not is_a(config.get('model', {}), RepFusion):
        parser.error(f'{args.model} is no distillation config: its model is not a RepFusion.')
    return config


def measure_model(parser: argparse.ArgumentParser, args: argparse.Namespace) -> list[dict]:
    """Measure ``step`` and ``processes``, which take a preset or a config."""

    def measure(model: dict) -> list[dict]:
        if args.command == 'step':
            return benchmark_step.measure(model, args.batch_size, args.rounds)
        return benchmark_processes.measure(model, args.batch_size, args.processes, args.rounds)

    if args.model not in PRESETS:
        config = load_config(parser, args)
        args.batch_size = args.batch_size or config.train_dataloader.batch_size
        return measure(config.model.to_dict() | {'data_preprocessor': config.get('data_preprocessor')})
    args.batch_size = args.batch_size or PRESETS[args.model][2][torch.cuda.is_available()]
    with tempfile.TemporaryDirectory() as folder:
        return measure(preset_model(args.model, Path(folder)))


def measure_config(parser: argparse.ArgumentParser, args: argparse.Namespace) -> tuple[dict, list[dict]]:
    """Measure ``train``, ``data`` or ``scaling``; the settings that count, and the rows."""
    config = load_config(parser, args)
    args.batch_size = config.train_dataloader.batch_size
    if args.command == 'train':
        return {}, benchmark_train.measure(config, args.iterations)
    try:
        benchmark_scaling.check(config, args.assume) if args.command == 'scaling' else benchmark_data.check(config)
    except ValueError as error:
        parser.error(f'{args.model}: {error}')
    if args.command == 'scaling':
        return benchmark_scaling.measure(config, args.gpus, args.assume)
    step = args.step_ms / 1e3
    rows = benchmark_data.measure(config, args.entries, args.workers, step, args.batches, args.folder)
    return {'entries': args.entries, 'step_ms': args.step_ms}, rows


COLUMNS = {
    'way': ('way', '{}'),
    'source': ('files from', '{}'),
    'start_up': ('start-up, s', '{:.1f}'),
    'start_up_processor': ('of it working, s', '{:.1f}'),
    'start_up_memory': ('its peak, MiB', lambda value: f'{value / 2**20:.0f}'),
    'list_memory': ('list, MiB', lambda value: f'{value / 2**20:.0f}'),
    'workers': ('workers', '{}'),
    'worker_memory': ('a worker for itself, MiB', lambda value: f'{value / 2**20:.0f}'),
    'epoch_boundary': ('between epochs, s', '{:.2f}'),
    'images_per_second': ('images/s', '{:.2f}'),
    'ratio': ('ratio', '{:.2f}'),
    'efficiency': ('efficiency', '{:.0%}'),
    'processor_efficiency': ('by processor time', '{:.0%}'),
    'peak_memory': ('peak memory, MiB', lambda value: f'{value / 2**20:.0f}'),
    'teacher_flops': ('teacher, GFLOP/image', lambda value: f'{value / 1e9:.2f}'),
    'step_flops': ('step, GFLOP/image', lambda value: f'{value / 1e9:.2f}'),
    'share_of_peak': ('share of peak', '{:.0%}'),
    'data_share': ('waiting for data', '{:.1%}'),
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


def main() -> None:
    parser, args = parse_args()
    if args.json and not args.json.parent.is_dir():
        parser.error(f'--json {args.json}: there is no folder {args.json.parent}.')
    if args.command in ('step', 'processes'):
        further, rows = {}, measure_model(parser, args)
    else:
        further, rows = measure_config(parser, args)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    setting = {
        'command': args.command,
        'model': args.model,
        'batch_size': args.batch_size,
        'device': device,
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
        'diffusers': diffusers.__version__,
        'load': round(os.getloadavg()[0], 1),
    } | further
    print(', '.join(f'{key} {value}' for key, value in setting.items()))
    scaling = args.command == 'scaling'
    print(table(rows, benchmark_scaling.QUANTITIES if scaling else COLUMNS, scaling))
    if args.json:
        args.json.write_text(json.dumps(setting | {'rows': rows}, indent=2) + '\n')


if __name__ == '__main__':
    main()
