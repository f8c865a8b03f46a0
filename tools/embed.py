"""A student's features of a folder of images: features.npy and images.txt."""

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', help='folder of images, at any depth')
    parser.add_argument('student', help='checkpoint of a distillation, or folder of a published student')
    parser.add_argument('out', help='folder of the results')
    parser.add_argument('--image-size', type=int, metavar='PX', help="side of the images (the training's)")
    parser.add_argument('--batch-size', type=int, default=64, help='(%(default)s)')
    parser.add_argument('--workers', type=int, help='processes that decode (one a core, 8 at most)')
    args = vars(parser.parse_args())
    print(f'{args["images"]}: starting', flush=True)  # the libraries take seconds

    from mmcls.apis.embed import embed
    from mmcls.errors import told

    with told():
        out = args.pop('out')
        features, _ = embed(args.pop('images'), args.pop('student'), out, **args)
        print(f'{out}: {len(features):,} images, {features.shape[1]} numbers each')


if __name__ == '__main__':
    main()
