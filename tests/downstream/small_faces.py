"""A few faces of CelebAMask-HQ and WFLW as tools/prepare_data leaves them.

``write_<name>(data_root)`` writes what the configs read, where ``data_root`` stands for the repository's ``data``.
"""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from small_datasets import jpeg, write_files
from wflw import ANNOTATIONS, ATTRIBUTES, IMAGES, NUM_POINTS, SUBSETS, to_coco

L_EYE, R_EYE, NUM_CLASSES = 4, 5, 19


def png(labels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, 'PNG')
    return buffer.getvalue()


def label_map(size: int) -> np.ndarray:
    """All 19 classes in stripes; the person's left eye, on the right of the picture, is the larger one."""
    labels = np.repeat(np.arange(size) * NUM_CLASSES // size, size).reshape(size, size).astype(np.uint8)
    labels[(labels == L_EYE) | (labels == R_EYE)] = 1
    u = size // 16
    labels[5 * u : 9 * u, 10 * u : 14 * u] = L_EYE
    labels[6 * u : 8 * u, 3 * u : 5 * u] = R_EYE
    return labels


def write_celebamask_hq(data_root: Path, images: int = 6, size: int = 1024) -> Path:
    """data_root/celebaHQ_mask/CelebAMask-HQ with as many images in each split; masks have half their size."""
    folder = Path(data_root, 'celebaHQ_mask', 'CelebAMask-HQ')
    mask = png(label_map(size // 2))
    for k, split in enumerate(('train', 'val', 'test')):
        indices = range(images * k, images * (k + 1))
        write_files(folder, {f'CelebA-HQ-img/{i}.jpg': jpeg(i, size) for i in indices})
        write_files(folder, {f'mask/{i}.png': mask for i in indices})
        write_files(folder, {f'{split}.txt': ''.join(f'{i}\n' for i in indices).encode()})
    return folder


def face(index: int, size: int) -> dict:
    """A face as ``prepare_data.wflw.read_list`` returns it, with attributes that are its index in binary."""
    points = np.random.default_rng(index).uniform(0.25 * size, 0.75 * size, (NUM_POINTS, 2))
    points[[60, 72]] = [[0.35 * size, 0.4 * size], [0.65 * size, 0.4 * size]]
    return {
        'points': points,
        'box': np.array([0.2, 0.2, 0.8, 0.8]) * size,
        'attributes': {name: index >> k & 1 for k, name in enumerate(ATTRIBUTES)},
        'name': f'0--Parade/0_Parade_{index}.jpg',
    }


def write_wflw(data_root: Path, images: int = 6, size: int = 320) -> Path:
    """data_root/wflw with as many training and test faces, one an image."""
    folder = Path(data_root, 'wflw')
    faces = {'train': [face(i, size) for i in range(images)], 'test': [face(100 + i, size) for i in range(images)]}
    for attribute, subset in zip(ATTRIBUTES, SUBSETS, strict=True):
        faces[f'test_{subset}'] = [f for f in faces['test'] if f['attributes'][attribute]]
    names = [f['name'] for split in ('train', 'test') for f in faces[split]]
    write_files(folder / IMAGES, {name: jpeg(i, size) for i, name in enumerate(names)})
    sizes = dict.fromkeys(names, (size, size))
    write_files(folder, {path: json.dumps(to_coco(faces[name], sizes)).encode() for name, path in ANNOTATIONS.items()})
    return folder
