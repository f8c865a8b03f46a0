"""The demo: bash tools/demo.sh [PART]."""

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='bash tools/demo.sh',
        description='RepFusion from nothing, with data that needs no download; cifar10 needs one.',
        epilog='What is finished is not run again; what was interrupted goes on.',
    )
    parts = 'digits, digits few, digits full, losses, rewards, cifar10, cifar10 factors, cifar10 timesteps, faces, '
    parts += 'faces full'
    parser.add_argument('part', nargs='*', default=['digits'], help=f'{parts}; by default digits')
    parser.add_argument('--data', help='cifar10: a copy of the images, as {train,test}/<class>/*')
    parser.add_argument('--teacher', help='cifar10: the diffusion model, by default google/ddpm-cifar10-32')
    args = parser.parse_args()

    from mmcls.demo import demo
    from mmcls.errors import told

    with told():
        for text in demo(' '.join(args.part), args.data, args.teacher):
            print(text, flush=True)


if __name__ == '__main__':
    main()
