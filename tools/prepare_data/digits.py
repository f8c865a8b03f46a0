"""Write scikit-learn's handwritten digits as an image folder: python tools/prepare_data/digits.py [FOLDER] [--check]

1,797 grey images of 8x8 pixels (UCI, Alpaydin and Kaynak 1998) that come with scikit-learn. The split is stratified
and fixed: 1,000 images to train on, 297 to choose by (``val``) and 500 to test. ``meta/train_<N>_<K>.txt`` are nested
stratified subsets of N labels, for K = 0 to 4, for experiments with few labels.
"""

import shutil
from itertools import islice
from pathlib import Path

import numpy as np
from common import DATA_ROOT, DataError, broken_images, first, parse_args, report, run
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

FOLDER = DATA_ROOT / 'digits'
NUM_TRAIN, NUM_TEST, LABEL_COUNTS, NUM_SUBSETS = 1000, 500, (10, 20, 50, 100), 5
SPLITS = ('train', 'val', 'test')


def write_digits(folder: Path) -> None:
    """Write images and lists into ``folder``, which is replaced only once everything is written.

    Raises:
        DataError: When ``folder`` holds anything else.
    """
    partial = folder.with_name(folder.name + '.partial')
    shutil.rmtree(partial, ignore_errors=True)
    digits = load_digits()
    labels = digits.target
    names = [f'{label}/{index:04d}.png' for index, label in enumerate(labels)]
    for label in range(10):
        (partial / 'images' / str(label)).mkdir(parents=True)
    for image, name in zip(digits.images, names, strict=True):
        pixels = np.rint(image * (255 / 16)).astype(np.uint8)  # the data set has 17 grey levels
        Image.fromarray(pixels).save(partial / 'images' / name)

    train, rest = train_test_split(np.arange(len(labels)), train_size=NUM_TRAIN, stratify=labels, random_state=0)
    val, test = train_test_split(rest, test_size=NUM_TEST, stratify=labels[rest], random_state=0)
    lists = {'train': train, 'val': val, 'test': test}
    for k in range(NUM_SUBSETS):
        subset = train
        for count in sorted(LABEL_COUNTS, reverse=True):
            subset, _ = train_test_split(subset, train_size=count, stratify=labels[subset], random_state=k)
            lists[f'train_{count}_{k}'] = subset
        lists[f'train_{NUM_TRAIN}_{k}'] = train
    (partial / 'meta').mkdir()
    for name, indices in lists.items():
        lines = [f'{names[i]} {labels[i]}\n' for i in sorted(indices)]
        (partial / 'meta' / f'{name}.txt').write_text(''.join(lines))
    written = {path.relative_to(partial) for path in partial.rglob('*')}
    present = (path.relative_to(folder) for path in folder.rglob('*'))
    if others := [str(path) for path in islice((path for path in present if path not in written), 6)]:
        shutil.rmtree(partial)
        raise DataError(f'{folder} holds something else: {first(others)}. Give a folder of its own.')
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def find_problems(folder: Path) -> list[str]:
    """What is missing or does not decode; nothing for a complete folder."""
    subsets = [f'train_{count}_{k}' for count in (*LABEL_COUNTS, NUM_TRAIN) for k in range(NUM_SUBSETS)]
    missing = [name for name in (*SPLITS, *subsets) if not (folder / 'meta' / f'{name}.txt').is_file()]
    if missing:
        return [f'meta: lists are missing: {first(missing)}']
    lines = [line for name in SPLITS for line in (folder / 'meta' / f'{name}.txt').read_text().splitlines()]
    names = [line.split()[0] for line in lines]
    missing = [name for name in names if not (folder / 'images' / name).is_file()]
    if missing:
        return [f'images: {len(missing):,} of {len(names):,} are missing: {first(missing)}']
    return broken_images(names, lambda name: (folder / 'images' / name).open('rb'))


def main() -> None:
    args = parse_args(__doc__, FOLDER)
    problems = find_problems(args.folder)
    if problems and not args.check:
        write_digits(args.folder)
        problems = find_problems(args.folder)
    report(
        args.folder,
        problems,
        '1,000 training, 297 validation and 500 test images',
        'python tools/prepare_data/digits.py writes it',
    )


if __name__ == '__main__':
    run(main)
