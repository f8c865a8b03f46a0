"""Check ImageNet's layout: python tools/prepare_data/imagenet.py [FOLDER] [--check]

ILSVRC 2012: 1,281,167 training and 50,000 validation images of 1,000 classes, in ``{train,val}/<WordNet id>/*.JPEG``.
This script writes nothing, with or without ``--check``; torchvision lays the archives out.
"""

from pathlib import Path

from common import DATA_ROOT, IMAGE_SUFFIXES, broken_images, first, images_by_class, parse_args, report, run
from timm.data import ImageNetInfo

FOLDER = DATA_ROOT / 'imagenet'
NUM_IMAGES = {'train': 1_281_167, 'val': 50_000}
WORDNET_IDS = ImageNetInfo().label_names()
URL = 'https://image-net.org/download.php'
ADVICE = f"""Download ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from
{URL} into FOLDER, move a train or val that is not right out of the way, and let torchvision lay out each:
  python -c "from torchvision.datasets import ImageNet; ImageNet('FOLDER', 'train')"
  python -c "from torchvision.datasets import ImageNet; ImageNet('FOLDER', 'val')\""""


def find_problems(folder: Path) -> list[str]:
    """What is missing, laid out otherwise or does not decode; nothing for a complete folder."""
    return [problem for split in NUM_IMAGES for problem in _find_problems_of(split, folder)]


def _find_problems_of(split: str, folder: Path) -> list[str]:
    classes = images_by_class(folder / split)
    if not classes:
        return [_without_classes(split, folder / split)]
    problems = []
    missing = [name for name in WORDNET_IDS if name not in classes]
    if missing:
        problems.append(f'{split}: {len(missing)} of 1,000 class folders are missing: {first(missing)}')
    unknown = sorted(classes.keys() - set(WORDNET_IDS))
    if unknown:
        problems.append(f"{split}: folders that are none of ImageNet's 1,000 classes: {first(unknown)}")
    names = [f'{split}/{name}' for images in classes.values() for name in images]
    if len(names) != NUM_IMAGES[split]:
        empty = [name for name, images in classes.items() if not images]
        named = f'; empty: {first(empty)}' if empty else ''
        problems.append(f'{split}: {len(names):,} of {NUM_IMAGES[split]:,} images{named}')
    return problems + broken_images(names, lambda name: (folder / name).open('rb'))


def _without_classes(split: str, root: Path) -> str:
    if not root.is_dir():
        return f'{split} is missing'
    flat = any(path.suffix.lower() in IMAGE_SUFFIXES for path in root.iterdir())
    return f'{split} holds {"images" if flat else "nothing"}, not 1,000 class folders, {split}/<WordNet id>/*.JPEG'


def main() -> None:
    args = parse_args(__doc__, FOLDER)
    contents = f'1,000 classes, {NUM_IMAGES["train"]:,} training and {NUM_IMAGES["val"]:,} validation images'
    report(args.folder, find_problems(args.folder), contents, ADVICE.replace('FOLDER', str(args.folder)))


if __name__ == '__main__':
    run(main)
