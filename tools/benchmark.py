"""Measure speed, memory, data loading and scaling, as ratios in one run on one machine where they depend on it."""

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    step = commands.add_parser('step', help='one training step, with each option of the teacher on and off')
    processes = commands.add_parser('processes', help='one training step in one process and in several')
    processes.add_argument('--processes', type=int, default=2, help='number of processes (%(default)s)')
    for command in (step, processes):
        command.add_argument('model', help='cifar10, celebahq, adm64, adm256, or a distillation config')
        command.add_argument('--batch-size', type=int, help='images a step and process (a preset has its own)')
        command.add_argument('--rounds', type=int, default=7, help='turns that each way gets (%(default)s)')
    train = commands.add_parser('train', help='training through the runner, data loading included')
    train.add_argument('--iterations', type=int, default=50, help='iterations each way (%(default)s)')
    cache = commands.add_parser('cache', help="training with the teacher's features kept, and without")
    data = commands.add_parser('data', help='data loading with a very long list of made files')
    data.add_argument('--entries', type=int, default=1_300_000, help='length of the list (%(default)s)')
    data.add_argument('--workers', type=int, nargs='+', default=[1, 2, 4], help='worker processes (%(default)s)')
    data.add_argument('--step-ms', type=float, default=150, help='length of the step to keep up with (%(default)s)')
    data.add_argument('--folder', type=Path, help='where to make the files: the disk that is measured')
    scaling = commands.add_parser('scaling', help='training on many GPUs, on paper')
    scaling.add_argument('--gpus', type=int, nargs='+', default=[1, 8, 64, 512], help='numbers of GPUs (%(default)s)')
    scaling.add_argument('--assume', nargs='+', default=[], metavar='KEY=VALUE', help='of the machines: tflops=120 ...')
    for command in (train, cache, data, scaling):
        command.add_argument('model', help='distillation config')
    for command in (step, processes, train, cache, data, scaling):
        command.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings to override')
    loading = commands.add_parser('loading', help='loading of a text-to-image pipeline, whole and as a teacher')
    loading.add_argument('model', help='folder of a saved pipeline')
    for command in commands.choices.values():
        command.add_argument('--json', type=Path, dest='out', help='also write everything measured to this file')
    args = vars(parser.parse_args())
    from mmcls.benchmark import benchmark
    from mmcls.errors import told

    with told(parser.error):
        print(benchmark(**args))


if __name__ == '__main__':
    main()
