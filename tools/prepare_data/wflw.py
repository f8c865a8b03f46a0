"""Prepare WFLW: python tools/prepare_data/wflw.py [FOLDER] [--check]

7,500 training and 2,500 test faces with 98 points and six binary attributes each (Wu et al., CVPR 2018). FOLDER holds
``WFLW_images`` and ``WFLW_annotations`` as unpacked from the two published archives. The lists become the annotation
files that MMPose's ``WFLWDataset`` reads, with one more for the test faces that have each attribute; OpenMMLab's own
files of these names do as well. ``images`` becomes a link to ``WFLW_images``.
"""

import io
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from common import DATA_ROOT, DataError, broken_images, first, parse_args, progress_bar, report, run, write_file
from PIL import Image
from wflw_list import ATTRIBUTES, NUM_POINTS, read_list

FOLDER = DATA_ROOT / 'wflw'
URL = 'https://wywu.github.io/projects/LAB/WFLW.html'
ADVICE = (
    f'Download WFLW_images.tar.gz and WFLW_annotations.tar.gz from {URL}, unpack both there, then: '
    'python tools/prepare_data/wflw.py'
)
IMAGES, RAW_IMAGES = 'images', 'WFLW_images'
LISTS = 'WFLW_annotations/list_98pt_rect_attr_train_test'
SUBSETS = ('largepose', 'expression', 'illumination', 'makeup', 'occlusion', 'blur')  # OpenMMLab's names of them
PIXELS_OF_SCALE_1 = 200  # the unit of WFLWDataset's ``scale``
OFFICIAL_COUNTS = {'train': 7500, 'test': 2500}


def annotation_file(name: str) -> str:
    return f'annotations/face_landmarks_wflw_{name}.json'


ANNOTATIONS = {name: annotation_file(name) for name in ('train', 'test', *(f'test_{subset}' for subset in SUBSETS))}


def centre_and_scale(points: np.ndarray) -> tuple[list[float], float]:
    """The square around a face that WFLWDataset crops, as the files of HRNet and OpenMMLab have it.

    It is the square around the points, rounded outwards, not the official box: published numbers are measured so.
    """
    low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    return ((low + high) / 2).tolist(), float((high - low).max()) / PIXELS_OF_SCALE_1


def to_coco(faces: list[dict], sizes: dict[str, tuple[int, int]]) -> dict:
    """Annotations in COCO's format with the keys that WFLWDataset reads.

    Args:
        faces: Of ``read_list``.
        sizes: Width and height of each image.
    """
    image_ids: dict[str, int] = {}
    annotations = []
    for face in faces:
        centre, scale = centre_and_scale(face['points'])
        x, y, right, bottom = face['box'].tolist()
        labelled = np.concatenate([face['points'], np.full((NUM_POINTS, 1), 2)], axis=1)
        annotations.append(
            {
                'id': len(annotations) + 1,
                'image_id': image_ids.setdefault(face['name'], len(image_ids) + 1),
                'category_id': 1,
                'keypoints': labelled.ravel().tolist(),
                'num_keypoints': NUM_POINTS,
                'center': centre,
                'scale': scale,
                'bbox': [x, y, right - x, bottom - y],
                'area': (right - x) * (bottom - y),
                'iscrowd': 0,
                'attributes': face['attributes'],
            }
        )
    images = [
        {'id': image_id, 'file_name': name, 'width': sizes[name][0], 'height': sizes[name][1]}
        for name, image_id in image_ids.items()
    ]
    return {'images': images, 'annotations': annotations, 'categories': [{'id': 1, 'name': 'face'}]}


def image_sizes(folder: Path, names: list[str]) -> dict[str, tuple[int, int]]:
    """Width and height of each image.

    Raises:
        DataError: When images are missing or no images.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(f'{folder} lacks {len(missing):,} of {len(names):,} images: {first(missing)}. {ADVICE}')
    sizes = {}
    for name in progress_bar(names, 'sizes of the images'):
        try:
            with Image.open(folder / name) as image:
                sizes[name] = image.size
        except OSError as error:
            raise DataError(f'{folder / name} is no image: {error}. Unpack WFLW_images.tar.gz again.') from error
    return sizes


def link_images(folder: Path) -> None:
    """Make ``images`` a link to ``WFLW_images``, unless it is there already."""
    if (folder / IMAGES).exists():
        return
    if not (folder / RAW_IMAGES).is_dir():
        raise DataError(f'{folder} has neither {IMAGES} nor {RAW_IMAGES}. {ADVICE}')
    (folder / IMAGES).unlink(missing_ok=True)  # a link to where they were before
    (folder / IMAGES).symlink_to(RAW_IMAGES)


def prepare(folder: Path) -> None:
    """Write all annotation files."""
    faces = {}
    for split in ('train', 'test'):
        name = f'list_98pt_rect_attr_{split}.txt'
        path = next((path for path in (folder / LISTS / name, folder / name) if path.is_file()), None)
        if path is None:
            raise DataError(f'{folder} lacks {LISTS}/{name}. {ADVICE}')
        faces[split] = read_list(path)
    link_images(folder)
    sizes = image_sizes(folder / IMAGES, sorted({face['name'] for split in faces.values() for face in split}))
    for attribute, subset in zip(ATTRIBUTES, SUBSETS, strict=True):
        faces[f'test_{subset}'] = [face for face in faces['test'] if face['attributes'][attribute]]
    # Those that are right may be somebody's own.
    waiting = {name: path for name, path in ANNOTATIONS.items() if _problem(folder / path)}
    for name, path in progress_bar(waiting.items(), 'annotations'):
        write_file(folder / path, io.BytesIO(json.dumps(to_coco(faces[name], sizes)).encode()))


def _damage(annotations: dict) -> str | None:
    """What WFLWDataset would stumble over."""
    if any('file_name' not in image for image in annotations['images']):
        return 'an image has no file_name'
    for annotation in annotations['annotations']:
        missing = {'keypoints', 'num_keypoints', 'center', 'scale', 'iscrowd', 'image_id', 'id'} - annotation.keys()
        if missing:
            return f'annotation {annotation.get("id")} lacks {", ".join(sorted(missing))}'
        if len(annotation['keypoints']) != 3 * NUM_POINTS:
            return f'annotation {annotation["id"]} has {len(annotation["keypoints"])} numbers, not {3 * NUM_POINTS}'
    return None


def _problem(path: Path) -> str | None:
    """What is wrong with an annotation file."""
    if not path.is_file():
        return 'is missing'
    try:
        damage = _damage(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        damage = f'{type(error).__name__}: {error}'
    return damage and f'is damaged: {damage}'


def inspect(folder: Path) -> tuple[list[str], dict[str, int]]:
    """What is wrong, nothing for a complete folder, and the number of faces in each annotation file."""
    problems, counts = [], defaultdict(int)
    names = set()
    for name, file in ANNOTATIONS.items():
        if problem := _problem(folder / file):
            problems.append(f'{file} {problem}')
            continue
        content = json.loads((folder / file).read_text())
        names |= {image['file_name'] for image in content['images']}
        counts[name] = len(content['annotations'])
    missing = sorted(name for name in names if not (folder / IMAGES / name).is_file())
    if missing:
        problems.append(f'{IMAGES}: {len(missing):,} of {len(names):,} images are missing: {first(missing)}')
    present = sorted(names - set(missing))
    return problems + broken_images(present, lambda name: (folder / IMAGES / name).open('rb')), counts


def contents(counts: dict[str, int]) -> str:
    official = {name: counts[name] for name in OFFICIAL_COUNTS} == OFFICIAL_COUNTS
    subsets = ', '.join(f'{subset} {counts[f"test_{subset}"]:,}' for subset in SUBSETS)
    return f'{counts["train"]:,} training and {counts["test"]:,} test faces ({subsets})' + (
        '' if official else '; WFLW itself has 7,500 and 2,500'
    )


def main() -> None:
    args = parse_args(__doc__, FOLDER)
    problems, counts = inspect(args.folder)
    if problems and not args.check and (args.folder / RAW_IMAGES).is_dir():  # perhaps nothing but the link is missing
        link_images(args.folder)
        problems, counts = inspect(args.folder)
    if problems and not args.check:
        prepare(args.folder)
        problems, counts = inspect(args.folder)
    report(args.folder, problems, contents(counts), ADVICE)


if __name__ == '__main__':
    run(main)
