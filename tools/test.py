"""Test a trained model of any tree: python tools/test.py <CONFIG> <CHECKPOINT> [--out FILE] [--show-dir DIR] ..."""

import argparse
import gc


def main() -> None:
    parser = argparse.ArgumentParser(description='Test a model')
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file of a training run')
    add('--work-dir', help="where logs and checkpoints go (the config's work_dir, else work_dirs/<config name>)")
    add('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings to override')
    add(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        default='none',
        help='what started the processes; dist_train.sh and slurm_train.sh say it (%(default)s)',
    )
    add('--local-rank', '--local_rank', type=int, default=0, help='set by older launchers (%(default)s)')
    add('--out', help='write the metrics to this .json file')
    add('--show-dir', help='draw predictions into this folder; of several processes, the first draws')
    args = parser.parse_args()

    from mmcls import engine, errors

    gc.freeze()  # MMEngine's data sets collect garbage, each time among all that was imported
    with errors.told(named=True):
        config = engine.prepare_config(args.config, args.cfg_options, args.work_dir, args.launcher)
        config.load_from = args.checkpoint
        engine.evaluate(config, args.out, args.show_dir)


if __name__ == '__main__':
    main()
