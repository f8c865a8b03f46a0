"""Convert a checkpoint of guided-diffusion into the folder of a diffusers pipeline, once."""

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', type=Path, help='.pt file, such as 64x64_diffusion.pt')
    parser.add_argument('folder', type=Path, help='folder to write; it must not exist yet')
    parser.add_argument(
        '--variant',
        help='64, 128, 256, 256-uncond, 512, or a JSON file of guided-diffusion flags for a model of your own; '
        'by default read off the name of a published file',
    )
    args = parser.parse_args()

    from mmcls.errors import told
    from mmcls.models.guided_diffusion import convert

    with told(parser.error, also=(OSError,)):
        pipeline = convert(args.checkpoint, args.folder, args.variant)
    print(
        f'{args.folder}: {pipeline.unet.num_parameters():,} parameters. Use it as '
        f"teacher=dict(type='DiffusersTeacher', pretrained={str(args.folder)!r})."
    )


if __name__ == '__main__':
    main()
