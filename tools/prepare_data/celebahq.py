"""Unpack CelebA-HQ's images: python tools/prepare_data/celebahq.py [FOLDER] [--archive CelebAMask-HQ.zip] [--check]

30,000 faces of 1024x1024 pixels (Karras et al., ICLR 2018), without labels, as CelebAMask-HQ (Lee et al., CVPR 2020)
packs them: ``CelebA-HQ-img/<0-29999>.jpg``. Its masks are for face parsing: celebamask_hq.py.
"""

from pathlib import Path

from common import DATA_ROOT, DataError, broken_images, first, open_zip, parse_args, report, run, unpack

FOLDER = DATA_ROOT / 'celebaHQ_mask' / 'CelebAMask-HQ'
IMAGES = 'CelebA-HQ-img'
NUM_IMAGES = 30_000
URL = 'https://github.com/switchablenorms/CelebAMask-HQ'
ADVICE = (
    f'Download CelebAMask-HQ.zip from {URL}, then: python tools/prepare_data/celebahq.py --archive CelebAMask-HQ.zip'
)


def find_problems(folder: Path) -> list[str]:
    """What is missing or does not decode; nothing for a complete folder."""
    names = [f'{i}.jpg' for i in range(NUM_IMAGES)]
    present = {path.name for path in (folder / IMAGES).glob('*.jpg')}
    missing = [name for name in names if name not in present]
    if missing:
        return [f'{IMAGES}: {len(missing):,} of {NUM_IMAGES:,} images are missing: {first(missing)}']
    return broken_images(names, lambda name: (folder / IMAGES / name).open('rb'))


def prepare(folder: Path, archive: Path) -> None:
    """Unpack the images that are not there yet."""
    with open_zip(archive, URL) as file:
        targets = {f'CelebAMask-HQ/{IMAGES}/{i}.jpg': f'{i}.jpg' for i in range(NUM_IMAGES)}
        missing = sorted(targets.keys() - set(file.namelist()))
        if missing:
            raise DataError(
                f'{archive} lacks {len(missing):,} of {NUM_IMAGES:,} images, {first(missing)}; it holds '
                f'{first(file.namelist())}. Give CelebAMask-HQ.zip from {URL}.'
            )
        unpack(file, targets, folder / IMAGES)


def main() -> None:
    args = parse_args(__doc__, FOLDER, archive='CelebAMask-HQ.zip')
    problems = find_problems(args.folder)
    if problems and args.archive and not args.check:
        prepare(args.folder, args.archive)
        problems = find_problems(args.folder)
    report(args.folder, problems, f'{NUM_IMAGES:,} images', ADVICE)


if __name__ == '__main__':
    run(main)
