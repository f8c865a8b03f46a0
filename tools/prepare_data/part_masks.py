"""The part masks of CelebAMask-HQ, in its folder or in its archive, and the label maps that they give."""

import io
import os
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
from celebahq import URL
from common import open_zip
from PIL import Image

CLASSES = (
    'background', 'skin', 'nose', 'eye_g', 'l_eye', 'r_eye', 'l_brow', 'r_brow', 'l_ear', 'r_ear', 'mouth', 'u_lip',
    'l_lip', 'hair', 'hat', 'ear_r', 'neck_l', 'neck', 'cloth',
)  # fmt: skip
"""The classes of the label maps, in the order in which the parts are painted over each other."""

PART_MASKS = 'CelebAMask-HQ-mask-anno'


def list_part_masks(source: Path) -> dict[int, dict[str, str]]:
    """Path of each part mask below the folder or zip archive ``source``, by index of the image and name of the part."""
    if source.is_file():
        with open_zip(source, URL) as archive:
            paths = [name for name in archive.namelist() if f'/{PART_MASKS}/' in name]
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
