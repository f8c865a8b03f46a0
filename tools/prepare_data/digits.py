"""Write scikit-learn's handwritten digits as an image folder: python tools/prepare_data/digits.py [FOLDER]

1,797 grey images of 8x8 pixels (UCI, Alpaydin and Kaynak 1998) that come with scikit-learn. The split is stratified
and fixed: 1,000 images to train on and 797 to test. ``meta/train_<N>_<K>.txt`` are nested stratified subsets of N
labels, for K = 0 to 4, for experiments with few labels.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

FOLDER = Path(__file__).resolve().parents[2] / 'data' / 'digits'
NUM_TRAIN, LABEL_COUNTS, NUM_SUBSETS = 1000, (50, 100), 5


def write_digits(folder: Path) -> None:
    """Write images and lists into ``folder``, which is replaced only once everything is written."""
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

    train, test = train_test_split(np.arange(len(labels)), train_size=NUM_TRAIN, stratify=labels, random_state=0)
    lists = {'train': train, 'test': test}
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
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def is_complete(folder: Path) -> bool:
    """Whether every list is there and every image that the main ones name."""
    lists = [
        folder / 'meta' / f'{name}.txt' for name in ('train', 'test', f'train_{LABEL_COUNTS[0]}_{NUM_SUBSETS - 1}')
    ]
    if not all(path.is_file() for path in lists):
        return False
    names = [line.split()[0] for path in lists for line in path.read_text().splitlines()]
    return all((folder / 'images' / name).is_file() for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', nargs='?', type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    if is_complete(folder):
        print(f'{folder} is complete: 1,000 training and 797 test images.')
        return
    write_digits(folder)
    print(f'Wrote 1,000 training and 797 test images to {folder}.')


if __name__ == '__main__':
    main()
