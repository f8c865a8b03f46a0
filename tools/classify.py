"""Fine-tune a student on a folder of classes, and the same network from scratch beside it."""

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('images', help='folder with a subfolder a class, or with train/ and perhaps val/, which are such folders')
    add('--student', required=True, help='checkpoint of a distillation, or folder of a published student')
    add('--out', required=True, help='folder of the results')
    add('--val', metavar='FOLDER', help="images for validation, of the same classes (images' val/, or a share)")
    add('--val-share', type=float, default=0.2, help='that share, of each class (%(default)s)')
    add('--scratch', action=argparse.BooleanOptionalAction, default=True, help='train from scratch, too (yes)')
    add(
        '--rates', type=float, nargs='+', default=[3e-4, 1e-3, 3e-3], help='learning rates to choose from (%(default)s)'
    )
    add('--iterations', type=int, help='steps of each training (as many as see each image 30 times, and 600 or more)')
    add('--image-size', type=int, metavar='PX', help="side of the images (the distillation's)")
    add('--batch-size', type=int, default=64, help='images of a step (%(default)s)')
    add('--parallel', type=int, metavar='N', help='trainings at a time (one a core; on a GPU one)')
    args = vars(parser.parse_args())
    print(f'{args["images"]}: starting', flush=True)  # the libraries take seconds

    from mmcls.apis.classify import classify
    from mmcls.errors import told

    with told():
        out = args['out']
        print(f'{out}: {classify(args.pop("images"), **args)}')


if __name__ == '__main__':
    main()
