"""Convert a checkpoint of guided-diffusion into the folder of a diffusers pipeline, once."""

import argparse
import json
import shutil
from pathlib import Path

from mmcls.models.guided_diffusion import VARIANTS, load_guided_diffusion


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', type=Path, help='.pt file, such as 64x64_diffusion.pt')
    parser.add_argument('folder', type=Path, help='folder to write; it must not exist yet')
    parser.add_argument(
        '--variant',
        help=f'{", ".join(VARIANTS)}, or a JSON file of guided-diffusion flags for a model of your own; '
        'by default read off the name of a published file',
    )
    return parser, parser.parse_args()


def choose_variant(checkpoint: Path, variant: str | None) -> str | dict:
    """The variant asked for, or the one whose published file has this name.

    Raises:
        ValueError: When none was asked for and the name tells none.
    """
    if variant is not None:
        return json.loads(Path(variant).read_text()) if variant.endswith('.json') else variant
    published = {f'{n}x{n}_diffusion': f'{n}' for n in (64, 128, 256, 512)} | {'256x256_diffusion_uncond': '256-uncond'}
    if checkpoint.stem not in published:
        raise ValueError(f'{checkpoint.name} is not the name of a published checkpoint: say what it is by --variant.')
    return published[checkpoint.stem]


def main() -> None:
    parser, args = parse_args()
    if args.folder.exists():
        parser.error(f'{args.folder} exists. Give the name of a new folder.')
    try:
        pipeline = load_guided_diffusion(args.checkpoint, choose_variant(args.checkpoint, args.variant))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    unfinished = args.folder.with_name(args.folder.name + '.unfinished')
    shutil.rmtree(unfinished, ignore_errors=True)
    pipeline.save_pretrained(unfinished)
    unfinished.rename(args.folder)
    print(
        f'{args.folder}: {pipeline.unet.num_parameters():,} parameters. Use it as '
        f"teacher=dict(type='DiffusersTeacher', pretrained={str(args.folder)!r})."
    )


if __name__ == '__main__':
    main()
