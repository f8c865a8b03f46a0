"""Distil, then train and test a downstream model from the student: bash tools/transfer.sh."""

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='bash tools/transfer.sh', description='Distil, then train and test a downstream model from the student.'
    )
    parser.add_argument('distill_config', help='config that distils, such as configs/celebahq-hint/ddpm-r18_hint.py')
    parser.add_argument('downstream_config', help='config of any tree that loads a student')
    parser.add_argument('gpus', type=int, help='number of GPUs; without GPUs, of processes')
    parser.add_argument('--amp', action='store_true', help='distil in mixed precision, on GPUs')
    args = parser.parse_args()
    if args.gpus < 1:
        parser.error(f'{args.gpus} GPUs: at least 1 is needed; without GPUs it is the number of processes.')

    from mmcls.apis.transfer import transfer
    from mmcls.errors import told

    with told():
        transfer(args.distill_config, args.downstream_config, args.gpus, args.amp)


if __name__ == '__main__':
    main()
