"""Train a model of any tree: python tools/train.py <CONFIG> [--work-dir DIR] [--resume [CHECKPOINT]] ..."""

import argparse
import gc


def main() -> None:
    parser = argparse.ArgumentParser(description='Train a model')
    add = parser.add_argument
    add('config', help='config file')
    add('--work-dir', help="where logs and checkpoints go (the config's work_dir, else work_dirs/<config name>)")
    add('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings to override')
    add(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        default='none',
        help='what started the processes; dist_train.sh and slurm_train.sh say it (%(default)s)',
    )
    add('--local-rank', '--local_rank', type=int, default=0, help='set by older launchers (%(default)s)')
    add(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from the newest checkpoint of the work directory, or a given one',
    )
    add('--amp', action='store_true', help='automatic mixed precision, on GPUs')
    add('--auto-scale-lr', action='store_true', help='scale the learning rate with the total batch size')
    add('--allow-partial-init', action='store_true', help='go on where a pretrained checkpoint fits only in part')
    add('--dry-run', action='store_true', help='build everything, try one step, print what it costs, and stop')
    args = parser.parse_args()

    from mmcls import engine, errors

    gc.freeze()  # MMEngine's data sets collect garbage, each time among all that was imported
    follow = args.work_dir, args.launcher, args.resume, args.amp, args.auto_scale_lr
    with errors.told(named=True):
        config = engine.prepare_config(args.config, args.cfg_options, *follow)
        (engine.dry_run if args.dry_run else engine.train)(config, args.allow_partial_init)


if __name__ == '__main__':
    main()
