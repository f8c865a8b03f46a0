"""Lay out Tiny-ImageNet: python tools/prepare_data/tiny_imagenet.py [FOLDER] [--archive FILE] [--check]

200 classes of ImageNet at 64x64 pixels (Stanford CS231n), 500 training and 50 validation images each. As published in
tiny-imagenet-200.zip, all validation images lie in ``val/images``, and ``val/val_annotations.txt`` names their classes;
here they go to ``val/<WordNet id>/images``, as in ``train``. A folder that was unpacked by hand is laid out in place.
The test images have no labels and are not unpacked.
"""

import re
from pathlib import Path
from zipfile import ZipFile

from common import (
    DATA_ROOT,
    DataError,
    broken_images,
    first,
    images_by_class,
    open_zip,
    parse_args,
    progress_bar,
    report,
    run,
    unpack,
)

FOLDER = DATA_ROOT / 'tiny-imagenet-200'
NUM_CLASSES = 200
IMAGES_PER_CLASS = {'train': 500, 'val': 50}
URL = 'http://cs231n.stanford.edu/tiny-imagenet-200.zip'
ADVICE = (
    f'Download {URL}, then: python tools/prepare_data/tiny_imagenet.py --archive tiny-imagenet-200.zip; '
    'for a folder that is unpacked already: python tools/prepare_data/tiny_imagenet.py FOLDER'
)
TRAIN_MEMBER = re.compile(r'tiny-imagenet-200/(train/n\d{8}/images/\w+\.JPEG)')
VAL_MEMBER = re.compile(r'tiny-imagenet-200/val/images/(\w+\.JPEG)')
VAL_LABELS = 'tiny-imagenet-200/val/val_annotations.txt'


def find_problems(folder: Path) -> list[str]:
    """What is missing, not laid out yet or does not decode; nothing for a complete folder."""
    if is_raw(folder):
        return ['val/images holds validation images that are not in folders of their classes yet']
    problems, splits = [], {split: images_by_class(folder / split) for split in IMAGES_PER_CLASS}
    for split, classes in splits.items():
        expected = IMAGES_PER_CLASS[split]
        wrong = [f'{name} ({len(images)})' for name, images in classes.items() if len(images) != expected]
        if len(classes) != NUM_CLASSES:
            lacking = sorted(set().union(*splits.values()) - classes.keys())
            named = f', lacking {first(lacking)}' if lacking else ''
            problems.append(f'{split}: {len(classes)} of {NUM_CLASSES} class folders{named}')
        if wrong:
            problems.append(f'{split}: classes that do not have {expected} images: {first(wrong)}')
        names = [f'{split}/{image}' for images in classes.values() for image in images]
        problems += broken_images(names, lambda name: (folder / name).open('rb'))
    return problems


def is_raw(folder: Path) -> bool:
    return (folder / 'val' / 'images').is_dir()


def arrange_val(folder: Path) -> None:
    """Move ``val/images/*`` to the folders of their classes; called again, it goes on where it was."""
    val = folder / 'val'
    if not (val / 'val_annotations.txt').is_file():
        raise DataError(f'{val} has a folder images, but no val_annotations.txt, which names their classes. {ADVICE}')
    labels = read_labels((val / 'val_annotations.txt').read_text())
    images = sorted(path.name for path in (val / 'images').iterdir())
    unknown = [name for name in images if name not in labels]
    if unknown:
        raise DataError(f'{val / "images"} holds files that val_annotations.txt does not name: {first(unknown)}.')
    for name in progress_bar(images, 'val'):
        target = val / labels[name] / 'images' / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (val / 'images' / name).rename(target)
    (val / 'images').rmdir()


def read_labels(annotations: str) -> dict[str, str]:
    """``{file name: WordNet id}`` of val_annotations.txt, whose lines go on with a box."""
    fields = [line.partition('\t') for line in annotations.splitlines()]
    labels = {name: rest.partition('\t')[0] for name, _, rest in fields}
    wrong = [f'{name} {label}' for name, label in labels.items() if not re.fullmatch(r'n\d{8}', label)]
    if wrong:
        raise DataError(f'val_annotations.txt holds labels that are no WordNet ids: {first(wrong)}. {ADVICE}')
    return labels


def find_targets(archive: ZipFile) -> dict[str, str]:
    """``{member: path below the folder}`` of the training and validation images, if all of them are there."""
    names = archive.namelist()
    if VAL_LABELS not in names:
        raise DataError(f'{archive.filename} holds {first(names)}, not {VAL_LABELS}: it is another archive. {ADVICE}')
    labels = read_labels(archive.read(VAL_LABELS).decode())
    train = {match[0]: match[1] for match in map(TRAIN_MEMBER.fullmatch, names) if match}
    val = {
        match[0]: f'val/{labels[match[1]]}/images/{match[1]}'
        for match in map(VAL_MEMBER.fullmatch, names)
        if match and match[1] in labels
    }
    for split, members in (('train', train), ('val', val)):
        expected = NUM_CLASSES * IMAGES_PER_CLASS[split]
        if len(members) != expected:
            raise DataError(
                f'{archive.filename} holds {len(members):,} labelled {split} images; Tiny-ImageNet has {expected:,}. '
                f'{ADVICE}'
            )
    return train | val


def main() -> None:
    args = parse_args(__doc__, FOLDER, archive='tiny-imagenet-200.zip')
    problems = find_problems(args.folder)
    if problems and not args.check:
        if is_raw(args.folder):
            arrange_val(args.folder)
        problems = find_problems(args.folder)
        if problems and args.archive:
            with open_zip(args.archive, URL) as archive:
                unpack(archive, find_targets(archive), args.folder)
            problems = find_problems(args.folder)
    contents = f'{NUM_CLASSES} classes of {IMAGES_PER_CLASS["train"]} training and {IMAGES_PER_CLASS["val"]} val images'
    report(args.folder, problems, contents, ADVICE)


if __name__ == '__main__':
    run(main)
