"""What a diffusion model knows, layer by layer and timestep by timestep: linear and k-nearest-neighbour probes."""

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('teacher', help='hub id, folder of a pipeline, or checkpoint; or a config with model.teacher')
    parser.add_argument('data', help='folder with a subfolder a class; or a config with both dataloaders')
    parser.add_argument('--layers', nargs='+', help='by default every block, and what the literature found')
    parser.add_argument(
        '--timesteps', nargs='+', type=int, default=[0, 50, 100, 200, 300, 400, 600, 800], help='(%(default)s)'
    )
    parser.add_argument('--train', type=int, default=2000, help='images to fit the probes on (%(default)s)')
    parser.add_argument(
        '--test', type=int, default=2000, help='images to test them on, half of which choose (%(default)s)'
    )
    parser.add_argument('--batch-size', type=int, default=64, help='(%(default)s)')
    parser.add_argument('--out', help='work_dirs/probe/<name of the teacher>')
    args = parser.parse_args()
    print(f'{args.data}: starting', file=sys.stderr, flush=True)  # the libraries take seconds; stdout is the config

    from mmcls.apis.probe_configs import probe_configs
    from mmcls.errors import told

    out = args.out or Path('work_dirs/probe', Path(args.teacher).name)
    sizes = args.train, args.test, args.batch_size
    with told(parser.error, also=(ValueError,)):
        print(probe_configs(args.teacher, args.data, out, args.layers, args.timesteps, *sizes))


if __name__ == '__main__':
    main()
