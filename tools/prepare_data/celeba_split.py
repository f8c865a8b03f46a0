"""The official split of CelebA-HQ: each of its images was made of one of CelebA, which has a partition."""

from pathlib import Path

from celebahq import URL
from common import DataError

MAPPING, PARTITION = 'CelebA-HQ-to-CelebA-mapping.txt', 'list_eval_partition.txt'
SPLITS = ('train', 'val', 'test')  # 0, 1 and 2 in CelebA's partition
OFFICIAL_COUNTS = {'train': 24_183, 'val': 2_993, 'test': 2_824}
SOURCES = {
    MAPPING: f'It is part of CelebAMask-HQ.zip from {URL}.',
    PARTITION: 'It is part of CelebA (folder Eval): https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html.',
}


def read_split(folder: Path) -> dict[str, list[int]]:
    """The indices of the images in each split.

    Args:
        folder: Holds the mapping from CelebA-HQ to CelebA, and CelebA's partition.

    Raises:
        DataError: When a file is missing or damaged, or the two do not belong together.
    """
    partition = dict(_read_rows(folder / PARTITION, columns=2))
    split: dict[str, list[int]] = {name: [] for name in SPLITS}
    for index, _, original in _read_rows(folder / MAPPING, columns=3)[1:]:
        found = partition.get(original, 'nothing')
        if found not in ('0', '1', '2'):
            raise DataError(
                f'{folder / MAPPING} says that image {index} was made of {original}, for which {PARTITION} gives '
                f'{found!r} where 0, 1 or 2 is expected. Download both files again: {" ".join(SOURCES.values())}'
            )
        split[SPLITS[int(found)]].append(int(index))
    return {name: sorted(indices) for name, indices in split.items()}


def _read_rows(path: Path, columns: int) -> list[list[str]]:
    if not path.is_file():
        raise DataError(f'There is no file {path}. {SOURCES[path.name]} Put it there.')
    rows = [line.split() for line in path.read_text().splitlines()]
    for number, row in enumerate(rows, 1):
        if len(row) != columns:
            raise DataError(
                f'{path}, line {number}: {len(row)} columns where {columns} are expected: {" ".join(row)[:80]!r}. '
                f'Get it anew. {SOURCES[path.name]}'
            )
    return rows
