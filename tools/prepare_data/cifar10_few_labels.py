"""CIFAR-10 as a folder, with lists of few labels: python tools/prepare_data/cifar10_few_labels.py [FOLDER] [--check]

The last 500 training images of each class, by name, are held out to choose by (``val``), or 100 of them where time is
short (``val_1000``). ``meta/train_<N>_<K>.txt`` are nested stratified subsets of N labels, for K = 0 to 4; those of
4,000 labels and of all 45,000 are the same for every K. ``--images`` takes another copy of the images, as
``{train,test}/<class>/*``, instead of what tools/prepare_data/cifar10.py downloads.
"""

import os
import shutil
from pathlib import Path

import cifar10
import numpy as np
from common import DATA_ROOT, DataError, broken_images, first, images_by_class, parse_args, progress_bar, report, run
from PIL import Image

FOLDER = DATA_ROOT / 'cifar10_few_labels'
NUM_TRAIN, NUM_VAL, NUM_SHORT_VAL, NUM_TEST = 4500, 500, 100, 1000  # of each class
LABEL_COUNTS, NUM_SUBSETS = (250, 1000, 4000, 45000), 5
WHOLE = f'train_{LABEL_COUNTS[-1]}_0'
FIXED_FROM = 4000  # labels on, a subset is the same for every K
LISTS = ('val', 'val_1000', 'test', *(f'train_{count}_{k}' for count in LABEL_COUNTS for k in range(NUM_SUBSETS)))


def write_images(folder: Path) -> None:
    """Write MMPretrain's CIFAR-10 as ``{train,test}/<class>/NNNN.png``, numbered in its order.

    Raises:
        DataError: When it is not there, or damaged.
    """
    if problems := list(cifar10.find_problems(cifar10.FOLDER).values()):
        raise DataError(f'{cifar10.FOLDER}: {first(problems)}. {cifar10.ADVICE}. Or give a copy by --images.')
    for split in ('train', 'test'):
        dataset = cifar10.CIFAR10(str(cifar10.FOLDER), split=split, download=False)
        counts = dict.fromkeys(dataset.CLASSES, 0)
        for name in counts:
            (folder / split / name).mkdir(parents=True)
        for index in progress_bar(range(len(dataset)), split):
            info = dataset.get_data_info(index)
            name = dataset.CLASSES[int(info['gt_label'])]
            Image.fromarray(info['img']).save(folder / split / name / f'{counts[name]:04d}.png')
            counts[name] += 1


def read_images(folder: Path) -> dict[str, list[list[str]]]:
    """The lines ``<image> <class>``, class by class, of each split.

    Raises:
        DataError: When these are not the images of CIFAR-10.
    """
    lines = {}
    for split, count in (('train', NUM_TRAIN + NUM_VAL), ('test', NUM_TEST)):
        classes = images_by_class(folder / split)
        found = {name: len(names) for name, names in classes.items()}
        if found != dict.fromkeys(sorted(cifar10.CIFAR10.METAINFO['classes']), count):
            raise DataError(f'{folder / split} holds {found or "no images"}; expected {count:,} of each of 10 classes.')
        lines[split] = [[f'{split}/{name} {label}' for name in names] for label, names in enumerate(classes.values())]
    return lines


def write_lists(lines: dict[str, list[list[str]]], folder: Path) -> None:
    rest = [names[:NUM_TRAIN] for names in lines['train']]
    fixed = [np.random.default_rng(0).permutation(names).tolist() for names in rest]
    lists = {
        'test': lines['test'],
        'val': [names[NUM_TRAIN:] for names in lines['train']],
        'val_1000': [names[-NUM_SHORT_VAL:] for names in lines['train']],
    }
    for k in range(NUM_SUBSETS):
        drawn = [np.random.default_rng(k).permutation(names[: FIXED_FROM // 10]).tolist() for names in fixed]
        for count in LABEL_COUNTS:
            source = fixed if count >= FIXED_FROM else drawn
            lists[f'train_{count}_{k}'] = [sorted(names[: count // 10]) for names in source]
    folder.mkdir()
    for name, classes in lists.items():
        (folder / f'{name}.txt').write_text(''.join(f'{line}\n' for names in classes for line in names))


def write_folder(folder: Path, images: Path | None) -> None:
    """Write images and lists; ``folder`` bears its name only once everything is written.

    Raises:
        DataError: When ``folder`` holds something else, or the images are not there.
    """
    if images and not (images / 'train').is_dir():
        raise DataError(f'There is no folder {images / "train"}; {images} should hold {{train,test}}/<class>/*.')
    if folder.exists():
        raise DataError(f'{folder} is not complete, or holds something else. Remove it, or give a folder of its own.')
    partial = folder.with_name(folder.name + '.partial')
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        if images:
            (partial / 'images').symlink_to(images.resolve())
        else:
            write_images(partial / 'images')
        write_lists(read_images(partial / 'images'), partial / 'meta')
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def find_problems(folder: Path) -> list[str]:
    """What is missing or does not decode; nothing for a complete folder."""
    if missing := [name for name in LISTS if not (folder / 'meta' / f'{name}.txt').is_file()]:
        return [f'meta: lists are missing: {first(missing)}']
    names = [
        line.split()[0]
        for name in (WHOLE, 'val', 'test')
        for line in (folder / 'meta' / f'{name}.txt').read_text().splitlines()
    ]
    if missing := [name for name in names if not os.path.isfile(folder / 'images' / name)]:
        return [f'images: {len(missing):,} of {len(names):,} are missing: {first(missing)}']
    return broken_images(names, lambda name: (folder / 'images' / name).open('rb'))


def main() -> None:
    args = parse_args(__doc__, FOLDER, images='another copy of CIFAR-10, as {train,test}/<class>/*')
    problems = find_problems(args.folder)
    if not problems and args.images and (args.folder / 'images').resolve() != args.images.resolve():
        raise DataError(f'{args.folder} is of other images than {args.images}. Remove it, or give another folder.')
    if problems and not args.check:
        write_folder(args.folder, args.images)
        problems = find_problems(args.folder)
    report(
        args.folder,
        problems,
        '45,000 training, 5,000 validation and 10,000 test images',
        'python tools/prepare_data/cifar10_few_labels.py writes it',
    )


if __name__ == '__main__':
    run(main)
