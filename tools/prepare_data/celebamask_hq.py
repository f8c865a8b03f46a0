"""Prepare CelebAMask-HQ: python tools/prepare_data/celebamask_hq.py [FOLDER] [--archive CelebAMask-HQ.zip] [--check]

30,000 faces of 1024x1024 pixels with masks of 512x512 pixels for 18 parts (Lee et al., CVPR 2020). The masks become
label maps, ``mask/<index>.png``, and the official split becomes ``{train,val,test}.txt``, which MMSegmentation's
``BaseSegDataset`` reads as its ``ann_file``. The split is CelebA's own, in ``list_eval_partition.txt``: it is part of
CelebA, not of CelebAMask-HQ, and belongs into FOLDER beforehand.

Left and right are the person's: ``l_eye`` is the eye on the right of the picture.
"""

import io
from functools import partial
from pathlib import Path

import numpy as np
from celeba_split import MAPPING, OFFICIAL_COUNTS, PARTITION, SOURCES, SPLITS, read_split
from celebahq import FOLDER, IMAGES, URL
from common import DataError, broken_images, first, open_zip, parse_args, report, require_space, run, unpack, write_file
from parallel import parallel_map
from part_masks import CLASSES, label_map, list_part_masks
from PIL import Image

LABEL_MAPS = 'mask'
LABEL_MAP_BYTES = 12_288
ADVICE = (
    f'Download CelebAMask-HQ.zip from {URL}, and {PARTITION}. {SOURCES[PARTITION]} Put that one into the folder, '
    'then: python tools/prepare_data/celebamask_hq.py --archive CelebAMask-HQ.zip. '
    'It writes a damaged label map anew once that is removed.'
)


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
    problems = [problem for problem in parallel_map(write, jobs, LABEL_MAPS) if problem]
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
        if not split[name]:
            return [f'{name}.txt, the list of the {name} split, is empty']
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
    if problems:
        return problems
    return _foreign_label_maps(folder, [f'{LABEL_MAPS}/{index}.png' for index in indices])


def _foreign_label_maps(folder: Path, names: list[str], count: int = 50) -> list[str]:
    """Those of about ``count`` label maps, evenly spread over ``names``, that hold something else than classes."""
    problems = []
    for name in names[:: max(1, len(names) // count)]:
        labels = np.asarray(Image.open(folder / name))
        if labels.ndim != 2 or labels.max() >= len(CLASSES):
            problems.append(
                f'{name} is no label map of {len(CLASSES)} classes: shape {labels.shape}, values up to {labels.max()}'
            )
    return problems


def prepare(folder: Path, archive: Path | None) -> None:
    """Write label maps and split lists; images too, where an archive is given."""
    if not (folder / PARTITION).is_file():
        raise DataError(f'There is no file {folder / PARTITION}. {SOURCES[PARTITION]} Put it there.')
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
    args = parse_args(__doc__, FOLDER, archive='CelebAMask-HQ.zip')
    problems = find_problems(args.folder)
    if problems and not args.check:
        prepare(args.folder, args.archive)
        problems = find_problems(args.folder)
    report(args.folder, problems, '' if problems else contents(args.folder), ADVICE)


if __name__ == '__main__':
    run(main)
