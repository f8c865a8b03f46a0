"""Train a model of any tree: python tools/train.py <CONFIG> [--work-dir DIR] [--resume [CHECKPOINT]] ..."""

import argparse

import torch
from mmcls.engine.data_check import check_data
from mmcls.engine.dry_run import dry_run
from mmcls.engine.interruption import exit_on_signals
from mmcls.engine.launch import add_common_arguments, build_runner, load_config
from mmcls.engine.pretrained import check_pretrained_weights
from mmcls.engine.resume import settle_checkpoint
from mmcls.engine.work_dir_lock import locked_work_dir
from mmengine.model import is_model_wrapper
from torch.distributed.elastic.multiprocessing.errors import record


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model')
    add_common_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from the newest checkpoint in the work directory, or from a given one',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision, on GPUs')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the total batch size'
    )
    parser.add_argument(
        '--allow-partial-init', action='store_true', help='go on where a pretrained checkpoint fits only in part'
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='build everything, try one step, print what it costs, and stop'
    )
    return parser.parse_args()


def apply_arguments(config, args: argparse.Namespace) -> None:
    if args.resume == 'auto':
        config.resume = 'auto'
    elif args.resume:
        config.resume, config.load_from = True, args.resume
    if args.amp:
        if not torch.cuda.is_available():
            raise ValueError('--amp needs a GPU, and torch finds none here. Leave it out to train in float32.')
        config.optim_wrapper.update(type='AmpOptimWrapper')
        config.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in config.get('auto_scale_lr', {}):
            raise ValueError('--auto-scale-lr: the config does not say auto_scale_lr = dict(base_batch_size=...).')
        config.auto_scale_lr.enable = True


def train(config, args: argparse.Namespace) -> None:
    check_data(config, ['train', 'val'])
    problems = settle_checkpoint(config)
    runner = build_runner(config)
    for problem in problems:
        runner.logger.warning(problem)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    check_pretrained_weights(model, config, args.allow_partial_init)
    runner.train()


@record  # the error is what torchrun ends with
def main() -> None:
    exit_on_signals()
    args = parse_args()
    config = load_config(args)
    apply_arguments(config, args)
    if args.dry_run:
        return dry_run(config, args.allow_partial_init)
    with locked_work_dir(config.work_dir, args.launcher):
        train(config, args)


if __name__ == '__main__':
    main()
