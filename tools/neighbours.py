"""One HTML page of images, each with those that are most like it to a student."""

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', help='folder of images, at any depth')
    parser.add_argument('student', help='checkpoint of a distillation, or folder of a published student')
    parser.add_argument('page', help='HTML file to write')
    parser.add_argument(
        '--queries', type=int, default=24, help='images that are shown with their neighbours (%(default)s)'
    )
    parser.add_argument('-k', type=int, default=8, help='neighbours of each (%(default)s)')
    parser.add_argument('--image-size', type=int, metavar='PX', help="side of the images (the training's)")
    args = vars(parser.parse_args())
    print(f'{args["images"]}: starting', flush=True)  # the libraries take seconds

    from mmcls.apis.neighbours import neighbours
    from mmcls.errors import told

    with told():
        print(neighbours(args.pop('images'), args.pop('student'), args.pop('page'), **args))


if __name__ == '__main__':
    main()
