"""Draw faces with exact truth: python tools/prepare_data/demo_faces.py [FOLDER] [--train N] [--test N] [--size PX]

FOLDER stands for ``data``: it gets ``celebaHQ_mask/CelebAMask-HQ`` and ``wflw`` as they are downloaded, which
celebamask_hq.py and wflw.py then prepare like the real ones. Both hold the same pictures; masks, points and attributes
follow from the description that a picture is drawn from. ``--sheet FILE`` draws some of them with their truth instead.
"""

import argparse
import io
import json
import shutil
from functools import partial
from pathlib import Path

import celeba_split
import celebamask_hq
import cv2
import numpy as np
import wflw
from common import DATA_ROOT, DataError, require_space, run, write_file
from face_drawing import Portrait, Scene, contact_sheet, draw_face, project_points, sample_scene
from parallel import parallel_map
from part_masks import PART_MASKS
from PIL import Image

FOLDER = DATA_ROOT / 'demo_faces'
CELEBA, WFLW = Path('celebaHQ_mask', 'CelebAMask-HQ'), Path('wflw')
CELEBA_SPLIT_STARTS = {'train': 1, 'val': 162_771, 'test': 182_638}  # number of the first image of each in CelebA
CELEBA_IMAGES = 202_599
EVENTS = ('0--Parade', '9--Press_Conference', '12--Group', '35--Basketball')
SHEET_FACES = 24
MAX_FACES = 30_000  # as many as CelebAMask-HQ has


def make_scene(seed: int, index: int) -> Scene:
    return sample_scene(np.random.default_rng([seed, index]))


def make_split(train: int, test: int, seed: int) -> list[str]:
    """The split of each face in CelebAMask-HQ, in a random order; WFLW's test set is val and test together."""
    split = ['train'] * train + ['val'] * (test // 2) + ['test'] * (test - test // 2)
    return [split[i] for i in np.random.default_rng(seed).permutation(len(split))]


def wflw_name(index: int) -> str:
    event = EVENTS[index % len(EVENTS)]
    return f'{event}/{event.replace("--", "_")}_{index}.jpg'


def wflw_line(index: int, seed: int, size: int) -> str:
    """A line of an official list: 98 points, box, attributes, name."""
    scene = make_scene(seed, index)
    points = project_points(scene, size)
    margin = 0.04 * np.ptp(points, axis=0)
    low, high = np.floor(points.min(axis=0) - margin), np.ceil(points.max(axis=0) + margin)
    box = np.concatenate([low, high]).clip(0, size - 1).astype(int)
    fields = [*(f'{value:.6f}' for value in points.ravel()), *box, *scene.attributes.values(), wflw_name(index)]
    return ' '.join(map(str, fields))


def write_lists(folder: Path, split: list[str], seed: int, size: int) -> None:
    """The mapping and partition of CelebA, and the lists of WFLW."""
    rng = np.random.default_rng(seed)
    ends = [*list(CELEBA_SPLIT_STARTS.values())[1:], CELEBA_IMAGES + 1]
    unused = {
        name: list(rng.permutation(np.arange(start, end)))
        for (name, start), end in zip(CELEBA_SPLIT_STARTS.items(), ends, strict=True)
    }
    mapping = ['     idx    orig_idx       orig_file']
    for index, name in enumerate(split):
        number = unused[name].pop()
        mapping.append(f'{index:8d}{number - 1:12d}{f"{number:06d}.jpg":>16}')
    numbers = np.arange(1, CELEBA_IMAGES + 1)
    which = np.searchsorted(list(CELEBA_SPLIT_STARTS.values()), numbers, side='right') - 1
    partition = [f'{number:06d}.jpg {k}' for number, k in zip(numbers, which, strict=True)]
    lines = [wflw_line(index, seed, size) for index in range(len(split))]
    lists = {
        CELEBA / celeba_split.MAPPING: mapping,
        CELEBA / celeba_split.PARTITION: partition,
    }
    for part in ('train', 'test'):
        chosen = [line for line, name in zip(lines, split, strict=True) if (name == 'train') == (part == 'train')]
        lists[WFLW / wflw.LISTS / f'list_98pt_rect_attr_{part}.txt'] = chosen
    for path, rows in lists.items():
        write_file(folder / path, io.BytesIO(''.join(f'{row}\n' for row in rows).encode()))


def _write_image(path: Path, image: np.ndarray, **options) -> None:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, path.suffix[1:].upper().replace('JPG', 'JPEG'), **options)
    buffer.seek(0)
    write_file(path, buffer)


def write_face(index: int, folder: Path, seed: int, size: int) -> None:
    """Draw a face into both layouts, unless it is there already."""
    last = folder / CELEBA / celebamask_hq.IMAGES / f'{index}.jpg'
    if last.is_file():
        return
    portrait = draw(index, seed, size)
    for part, mask in portrait.masks.items():
        name = f'{PART_MASKS}/{index // 2000}/{index:05d}_{part}.png'
        _write_image(folder / CELEBA / name, np.repeat(mask[..., None] * np.uint8(255), 3, axis=2))
    for path in (folder / WFLW / wflw.RAW_IMAGES / wflw_name(index), last):
        _write_image(path, portrait.image, quality=95)


def draw(index: int, seed: int, size: int) -> Portrait:
    cv2.setNumThreads(1)  # the faces are drawn in parallel
    return draw_face(make_scene(seed, index), size)


def write_faces(folder: Path, train: int, test: int, size: int, seed: int) -> None:
    """Write both layouts; ``folder`` bears its name only once everything is in it.

    Raises:
        DataError: When the folder is there already and was made with other settings, or the disk has too little room.
    """
    settings = {'train': train, 'test': test, 'size': size, 'seed': seed}
    if folder.exists():
        refuse_other(folder, settings)
        return
    partial_folder = folder.with_name(folder.name + '.partial')
    record = partial_folder / 'settings.json'
    if partial_folder.exists() and not (record.is_file() and json.loads(record.read_text()) == settings):
        shutil.rmtree(partial_folder)
    require_space(partial_folder, (train + test) * (60_000 + size**2 // 2))
    write_file(record, io.BytesIO(json.dumps(settings).encode()))
    write_lists(partial_folder, make_split(train, test, seed), seed, size)
    write = partial(write_face, folder=partial_folder, seed=seed, size=size)
    parallel_map(write, range(train + test), 'faces')
    partial_folder.rename(folder)


def prepare(folder: Path) -> None:
    """Make of the downloads' layouts what the configs read, where that is not done."""
    if celebamask_hq.find_problems(folder / CELEBA):
        celebamask_hq.prepare(folder / CELEBA, archive=None)
    if wflw.inspect(folder / WFLW)[0]:
        wflw.prepare(folder / WFLW)


def refuse_other(folder: Path, settings: dict) -> None:
    record = folder / 'settings.json'
    if not record.is_file():
        raise DataError(f'{folder} holds something else. Give the name of a new folder.')
    if (found := json.loads(record.read_text())) != settings:
        raise DataError(
            f'{folder} was drawn with {found}, not {settings}. Remove it, or give the name of a new folder.'
        )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', nargs='?', type=Path, default=FOLDER, help=f'by default {FOLDER}')
    parser.add_argument('--train', type=int, default=1000, help='training faces (%(default)s)')
    parser.add_argument(
        '--test', type=int, default=200, help="test faces, half of them CelebAMask-HQ's val (%(default)s)"
    )
    parser.add_argument('--size', type=int, default=128, help='side of the images; masks have half of it (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='(%(default)s)')
    parser.add_argument('--sheet', type=Path, metavar='FILE', help='only draw a picture of some faces and their truth')
    args = parser.parse_args()
    if args.train < 1 or args.test < 2 or args.train + args.test > MAX_FACES:
        parser.error(f'--train {args.train} --test {args.test}: at least 1 and 2, and at most {MAX_FACES:,} in all.')
    if args.size < 32 or args.size % 2:
        parser.error(f'--size {args.size}: an even number of at least 32 is needed.')
    return args


def main() -> None:
    args = parse_args()
    if args.sheet:
        faces = [draw(index, args.seed, args.size) for index in range(min(SHEET_FACES, args.train + args.test))]
        contact_sheet(faces).save(args.sheet)
        print(f'{args.sheet}: {len(faces)} faces, each with its label map and its points.')
        return
    write_faces(args.folder.resolve(), args.train, args.test, args.size, args.seed)
    prepare(args.folder.resolve())
    print(f'{args.folder}: {args.train:,} training and {args.test:,} test faces, prepared.')


if __name__ == '__main__':
    run(main)
