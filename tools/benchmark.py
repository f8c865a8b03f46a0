"""Measure speed and memory as ratios to the published way, in one run on one machine."""

import argparse
import json
import platform
import tempfile
from pathlib import Path

import benchmark_step
import benchmark_train
import diffusers
import torch
from benchmark_presets import PRESETS, preset_model
from mmengine.config import Config, DictAction


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    step = commands.add_parser('step', help='one training step, with each option of the teacher on and off')
    step.add_argument('model', help=f'{", ".join(PRESETS)} (random weights), or a distillation config')
    step.add_argument('--batch-size', type=int, help='images a step (a preset has its own)')
    step.add_argument('--rounds', type=int, default=7, help='turns of two steps that each way gets (%(default)s)')
    train = commands.add_parser('train', help='training through the runner, data loading included')
    train.add_argument('model', help='distillation config')
    train.add_argument('--iterations', type=int, default=50, help='iterations each way (%(default)s)')
    for command in (step, train):
        command.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, help='settings to override')
        command.add_argument('--json', type=Path, help='also write everything measured to this file')
    return parser, parser.parse_args()


def load_config(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Config:
    if not Path(args.model).is_file():
        presets = f'neither a preset ({", ".join(PRESETS)}) nor' if args.command == 'step' else 'not'
        parser.error(f'{args.model!r} is {presets} a config file in {Path.cwd()}.')
    config = Config.fromfile(args.model)
    config.merge_from_dict(args.cfg_options)
    if config.get('model', {}).get('type') != 'RepFusion':
        parser.error(f'{args.model} is no distillation config: its model is not a RepFusion.')
    return config


def measure_step(parser: argparse.ArgumentParser, args: argparse.Namespace) -> list[dict]:
    if args.model not in PRESETS:
        config = load_config(parser, args)
        args.batch_size = args.batch_size or config.train_dataloader.batch_size
        model = config.model.to_dict() | {'data_preprocessor': config.get('data_preprocessor')}
        return benchmark_step.measure(model, args.batch_size, args.rounds)
    args.batch_size = args.batch_size or PRESETS[args.model][2][torch.cuda.is_available()]
    with tempfile.TemporaryDirectory() as folder:
        return benchmark_step.measure(preset_model(args.model, Path(folder)), args.batch_size, args.rounds)


COLUMNS = {
    'way': ('way', '{}'),
    'images_per_second': ('images/s', '{:.2f}'),
    'ratio': ('ratio', '{:.2f}'),
    'peak_memory': ('peak memory, MiB', lambda value: f'{value / 2**20:.0f}'),
    'teacher_flops': ('teacher, GFLOP/image', lambda value: f'{value / 1e9:.2f}'),
    'step_flops': ('step, GFLOP/image', lambda value: f'{value / 1e9:.2f}'),
    'share_of_peak': ('share of peak', '{:.0%}'),
    'data_share': ('waiting for data', '{:.1%}'),
}


def table(rows: list[dict]) -> str:
    """The rows as a Markdown table."""
    columns = [key for key in COLUMNS if key in rows[0]]
    lines = [[COLUMNS[key][0] for key in columns], ['---'] * len(columns)]
    for row in rows:
        formats = [COLUMNS[key][1] for key in columns]
        cells = [f.format(row[k]) if isinstance(f, str) else f(row[k]) for f, k in zip(formats, columns, strict=True)]
        lines.append(cells)
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def main() -> None:
    parser, args = parse_args()
    if args.json and not args.json.parent.is_dir():
        parser.error(f'--json {args.json}: there is no folder {args.json.parent}.')
    if args.command == 'step':
        rows = measure_step(parser, args)
    else:
        config = load_config(parser, args)
        args.batch_size = config.train_dataloader.batch_size
        rows = benchmark_train.measure(config, args.iterations)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    setting = {
        'command': args.command,
        'model': args.model,
        'batch_size': args.batch_size,
        'device': device,
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
        'diffusers': diffusers.__version__,
    }
    print(', '.join(f'{key} {value}' for key, value in setting.items()))
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(setting | {'rows': rows}, indent=2) + '\n')


if __name__ == '__main__':
    main()
