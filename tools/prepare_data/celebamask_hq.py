"""Prepare CelebAMask-HQ: python tools/prepare_data/celebamask_hq.py [FOLDER] [--archive CelebAMask-HQ.zip] [--check]

30,000 faces of 1024x1024 pixels with masks of 512x512 pixels for 18 parts (Lee et al., CVPR 2020). The masks become
label maps, ``mask/<index>.png``, and the official split becomes ``{train,val,test}.txt``, which MMSegmentation's
``BaseSegDataset`` reads as its ``ann_file``. The split is CelebA's own, in ``list_eval_partition.txt``: it is part of
CelebA, not of CelebAMask-HQ, and belongs into FOLDER beforehand.

Left and right are the person's: ``l_eye`` is the eye on the right of the picture.
"""

import argparse
import io
import os
import sys
import zipfile
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.contrib.concurrent import process_map

sys.path.append(str(Path(__file__).resolve().parents[1]))
from prepare_data.celebahq import FOLDER, IMAGES, URL
from prepare_data.common import (
    DataError,
    broken_images,
    first,
    open_zip,
    parse_args,
    report,
    require_space,
    unpack,
    write_file,
)

CLASSES = (
    'background', 'skin', 'nose', 'eye_g', 'l_eye', 'r_eye', 'l_brow', 'r_brow', 'l_ear', 'r_ear', 'mouth', 'u_lip',
    'l_lip', 'hair', 'hat', 'ear_r', 'neck_l', 'neck', 'cloth',
)  # fmt: skip
"""The classes of the label maps, in the order in which the parts are painted over each other."""

PART_MASKS, LABEL_MAPS = 'CelebAMask-HQ-mask-anno', 'mask'
MAPPING, PARTITION = 'CelebA-HQ-to-CelebA-mapping.txt', 'list_eval_partition.txt'
SPLITS = ('train', 'val', 'test')  # 0, 1 and 2 in CelebA's partition
OFFICIAL_COUNTS = {'train': 24_183, 'val': 2_993, 'test': 2_824}
LABEL_MAP_BYTES = 12_288
PARTITION_ADVICE = (
    f'Download {PARTITION} of CelebA (folder Eval) from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html.'
)
ADVICE = (
    f'Download CelebAMask-HQ.zip from {URL}. {PARTITION_ADVICE} Put that file into the folder, then: '
    'python tools/prepare_data/celebamask_hq.py --archive CelebAMask-HQ.zip'
)


def read_table(path: Path, columns: int, header: bool) -> list[list[str]]:
    """The rows of a text file of this many columns.

    Raises:
        DataError: For the first line that has other than this many.
    """
    if not path.is_file():
        raise DataError(f'There is no file {path}. {PARTITION_ADVICE if path.name == PARTITION else ADVICE}')
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fields = line.split()
        if len(fields) != columns:
            raise DataError(
                f'{path}, line {number}: {len(fields)} columns where {columns} are expected: {line[:80]!r}. '
                'Download it again.'
            )
        if number > 1 or not header:
            rows.append(fields)
    return rows


def read_split(folder: Path) -> dict[str, list[int]]:
    """The indices of each official split, by way of the image of CelebA that each was made of.

    Raises:
        DataError: When a file is missing, damaged, or the two do not belong together.
    """
    partition = dict(read_table(folder / PARTITION, columns=2, header=False))
    split = {name: [] for name in SPLITS}
    for index, _, original in read_table(folder / MAPPING, columns=3, header=True):
        if partition.get(original) not in ('0', '1', '2'):
            raise DataError(
                f'{folder / MAPPING} says that image {index} was made of {original}, for which {PARTITION} gives '
                f'{partition.get(original, "nothing")!r} where 0, 1 or 2 is expected. Download both files again.'
            )
        split[SPLITS[int(partition[original])]].append(int(index))
    return {name: sorted(indices) for name, indices in split.items()}


def list_part_masks(source: Path) -> dict[int, dict[str, str]]:
    """Path of each part mask below the folder or zip archive ``source``, by index of the image and name of the part."""
    if source.is_file():
        paths = [name for name in open_zip(source, URL).namelist() if f'/{PART_MASKS}/' in name]
    else:
        paths = [
            os.path.relpath(os.path.join(root, name), source)
            for root, _, names in os.walk(source / PART_MASKS)
            for name in names
        ]
    masks: dict[int, dict[str, str]] = {}
    for path in paths:
        index, _, part = Path(path).stem.partition('_')
        if path.endswith('.png') and index.isdecimal() and part in CLASSES:
            masks.setdefault(int(index), {})[part] = path
    return masks


@cache
def _archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)  # once a process


def read_mask(source: Path, path: str) -> np.ndarray:
    """Where a part is, as bool of shape (H, W)."""
    file = io.BytesIO(_archive(source).read(path)) if source.is_file() else source / path
    with Image.open(file) as image:
        return np.asarray(image.convert('L')) > 0


def label_map(source: Path, masks: dict[str, str]) -> np.ndarray:
    """Paint the parts in the official order, each over those before it.

    Args:
        source: Folder or zip archive.
        masks: Path of the mask of each part that the image has.

    Returns:
        Index into ``CLASSES`` of each pixel, uint8, shape (H, W).

    Raises:
        ValueError: When a mask does not decode or has another size than the first one; it names the file.
    """
    labels = None
    for part in (name for name in CLASSES if name in masks):
        try:
            mask = read_mask(source, masks[part])
        except (OSError, SyntaxError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f'{masks[part]} does not decode: {error}') from error
        if labels is None:
            labels = np.zeros(mask.shape, np.uint8)
        elif mask.shape != labels.shape:
            raise ValueError(f'{masks[part]} has {mask.shape} pixels, the masks before it {labels.shape}')
        labels[mask] = CLASSES.index(part)
    return labels


def _write_label_map(job: tuple[int, dict[str, str]], source: Path, folder: Path) -> str | None:
    index, masks = job
    try:
        labels = label_map(source, masks)
    except ValueError as error:
        return str(error)
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, 'PNG')
    buffer.seek(0)
    write_file(folder / LABEL_MAPS / f'{index}.png', buffer)
    return None


def write_label_maps(source: Path, folder: Path, indices: list[int]) -> None:
    """Write the label maps that are not there yet.

    Raises:
        DataError: When images have no mask or masks are damaged; the label maps of all others are written by then.
    """
    waiting = [index for index in indices if not (folder / LABEL_MAPS / f'{index}.png').is_file()]
    masks = list_part_masks(source) if waiting else {}
    bare = [str(index) for index in waiting if index not in masks]
    if bare:
        raise DataError(
            f'{source} has no part mask of {len(bare):,} of {len(indices):,} images: {first(bare)}. {ADVICE}'
        )
    require_space(folder, LABEL_MAP_BYTES * len(waiting))
    jobs = [(index, masks[index]) for index in waiting]
    write = partial(_write_label_map, source=source, folder=folder)
    problems = process_map(write, jobs, chunksize=8, desc=LABEL_MAPS, disable=not jobs) if jobs else []
    problems = [problem for problem in problems if problem]
    if problems:
        raise DataError(
            f'{source} is damaged: ' + '\n  '.join(['', *problems]) + '\nGet these files anew and call it again: '
            'the label maps of all other images are written.'
        )


def unpack_images(archive: Path, folder: Path) -> None:
    """Unpack the images and the mapping; the masks are read from the archive as it is."""
    with open_zip(archive, URL) as file:
        names = {name.partition('/')[2]: name for name in file.namelist()}
        if MAPPING not in names:
            raise DataError(f'{archive} lacks {MAPPING}; it holds {first(file.namelist())}. {ADVICE}')
        with file.open(names[MAPPING]) as mapping:
            write_file(folder / MAPPING, mapping)
        images = {
            name: path.partition('/')[2]
            for path, name in names.items()
            if path.startswith(f'{IMAGES}/') and path[-1] != '/'
        }
        unpack(file, images, folder / IMAGES)


def write_split_lists(folder: Path, split: dict[str, list[int]]) -> None:
    for name, indices in split.items():
        write_file(folder / f'{name}.txt', io.BytesIO(''.join(f'{index}\n' for index in indices).encode()))


def find_problems(folder: Path) -> list[str]:
    """What is missing, damaged or not as the official split has it; nothing for a complete folder."""
    split = {}
    for name in SPLITS:
        if not (folder / f'{name}.txt').is_file():
            return [f'{name}.txt, the list of the {name} split, is missing']
        split[name] = (folder / f'{name}.txt').read_text().split()
    counts = {name: len(indices) for name, indices in split.items()}
    problems = []
    if sum(counts.values()) == sum(OFFICIAL_COUNTS.values()) and counts != OFFICIAL_COUNTS:
        problems.append(f'the split has {counts} images, the official one {OFFICIAL_COUNTS}')
    indices = [index for name in SPLITS for index in split[name]]
    for below, suffix in ((IMAGES, 'jpg'), (LABEL_MAPS, 'png')):
        present = {path.stem for path in (folder / below).glob(f'*.{suffix}')}
        missing = [f'{index}.{suffix}' for index in indices if index not in present]
        if missing:
            problems.append(f'{below}: {len(missing):,} of {len(indices):,} files are missing: {first(missing)}')
        names = [f'{below}/{index}.{suffix}' for index in indices if index in present]
        problems += broken_images(names, lambda name: (folder / name).open('rb'))
    return problems


def prepare(folder: Path, archive: Path | None) -> None:
    """Write label maps and split lists; images too, where an archive is given."""
    if not (folder / PARTITION).is_file():
        raise DataError(f'There is no file {folder / PARTITION}. {PARTITION_ADVICE} Put it there.')
    if archive:
        unpack_images(archive, folder)
    split = read_split(folder)
    write_label_maps(archive or folder, folder, sorted(index for indices in split.values() for index in indices))
    write_split_lists(folder, split)


def contents(folder: Path) -> str:
    counts = {name: len((folder / f'{name}.txt').read_text().split()) for name in SPLITS}
    official = '' if counts == OFFICIAL_COUNTS else ' (CelebAMask-HQ itself has 24,183, 2,993 and 2,824)'
    return ', '.join(f'{count:,} {name}' for name, count in counts.items()) + ' images with label maps' + official


def main() -> None:
    args: argparse.Namespace = parse_args(__doc__, FOLDER, archive='CelebAMask-HQ.zip')
    problems = find_problems(args.folder)
    if problems and not args.check:
        prepare(args.folder, args.archive)
        problems = find_problems(args.folder)
    report(args.folder, problems, '' if problems else contents(args.folder), ADVICE)


if __name__ == '__main__':
    main()
