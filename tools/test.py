"""Test a trained model of any tree: python tools/test.py <CONFIG> <CHECKPOINT> [--out FILE] ..."""

import argparse
import os
from pathlib import Path

from mmcls.engine.data_check import check_data
from mmcls.engine.launch import add_common_arguments, build_runner, load_config
from mmengine import dump
from mmengine.dist import is_main_process


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a model')
    add_common_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file of a training run')
    parser.add_argument('--out', help='write the metrics to this .json file')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'There is no checkpoint {args.checkpoint!r} in {Path.cwd()}.')
    config = load_config(args)
    config.load_from = args.checkpoint
    check_data(config, ['test'])
    metrics = build_runner(config).test()
    if args.out and is_main_process():
        partial = f'{args.out}.partial'
        dump(metrics, partial, file_format='json')
        os.replace(partial, args.out)


if __name__ == '__main__':
    main()
