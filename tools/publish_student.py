"""Publish the backbone of a distilled student: safetensors, .pth, ONNX, configs and a model card, in a folder."""

import argparse

FORMATS = ('safetensors', 'pth', 'onnx')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='.pth file that a distillation wrote')
    parser.add_argument('folder', help='folder to write; it must not exist yet')
    parser.add_argument('--config', help="the distillation's config, by default the one that the checkpoint keeps")
    parser.add_argument('--formats', nargs='+', choices=FORMATS, help='by default all that hold the network')
    parser.add_argument(
        '--image-size', type=int, help='side of the images in pixels, by default what the training pipeline gives'
    )
    parser.add_argument('--license', default='unknown', help='of the student, for the card: apache-2.0 (%(default)s)')
    args = parser.parse_args()
    print(f'{args.checkpoint}: starting', flush=True)  # the libraries take seconds

    from mmcls.apis.publish import publish
    from mmcls.errors import told

    with told(parser.error):
        print(publish(args.checkpoint, args.folder, args.formats, args.image_size, args.config, args.license))


if __name__ == '__main__':
    main()
