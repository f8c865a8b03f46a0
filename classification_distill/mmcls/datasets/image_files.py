"""The image files of a folder, and what of each the training would see and what it would not."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import mmcv
import numpy as np

SUFFIXES = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.jp2', '.png', '.bmp', '.dib', '.webp', '.avif', '.gif'),
    *('.tif', '.tiff', '.ppm', '.pgm', '.pbm', '.pnm'),
)
# Of kinds that cannot be read.
OTHERS = ('.heic', '.heif', '.jxl', '.svg', '.ico', '.tga', '.psd', '.dng', '.cr2', '.cr3', '.nef', '.arw', '.raw')
EIGHT_BITS = ('.jpg', '.jpeg', '.jpe', '.jfif')  # and no alpha
SYSTEM_FOLDERS = ('__MACOSX', '@eaDir', '#recycle', '$RECYCLE.BIN', 'System Volume Information', 'lost+found')
DARK = 32  # of 255: no more is left where the upper bits of larger numbers are empty


@dataclass
class FoundFiles:
    """Names below the folder, relative to it."""

    images: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def find_images(folder: Path, out: Path | None = None) -> FoundFiles:
    """Image files below ``folder``; those below ``out`` are results.

    Links to folders are followed, but not into one that the link lies in, where it would go on for ever.
    """
    found = FoundFiles()
    above = {str(folder): {folder.resolve()}}  # of each folder to be walked: itself and those it lies in, without links
    for root, directories, files in os.walk(folder, followlinks=True):
        path, inside = above.pop(root), Path(root).relative_to(folder)
        hidden = [name for name in directories if is_hidden(name)]
        found.hidden += [f'{(inside / name).as_posix()}/' for name in hidden]
        real = {name: Path(root, name).resolve() for name in directories if name not in hidden}
        directories[:] = sorted(name for name in real if real[name] not in {out, *path})
        above.update({os.path.join(root, name): path | {real[name]} for name in directories})
        for file in files:
            name, end = (inside / file).as_posix(), os.path.splitext(file)[1].lower()
            if end in SUFFIXES:
                (found.hidden if is_hidden(file) else found.images).append(name)
            elif end in OTHERS:
                found.others.append(name)
    for names in (found.images, found.hidden, found.others):
        names.sort()
    return found


class Look(NamedTuple):
    """What was seen of an image.

    Attributes:
        problem: Why it cannot be read; mostly empty.
        remark: What of it is read otherwise than a viewer shows it; mostly empty.
        side: Its shorter side in pixels, where it can be read.
    """

    problem: str = ''
    remark: str = ''
    side: int = 0


def look_at(path: Path) -> Look:
    """Decode an image as MMCV's ``LoadImageFromFile`` does."""
    try:
        content = path.read_bytes()
        image = mmcv.imfrombytes(content) if content else None
    except (OSError, cv2.error) as error:
        return Look(' '.join(str(error).split()))
    if not content:
        return Look('it is empty')
    whole = None
    if path.suffix.lower() not in EIGHT_BITS:
        whole = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        return Look(
            'it is damaged or no image' if whole is None else f'its numbers are {whole.dtype}, not 8 or 16 bits'
        )
    return Look(remark='' if whole is None else _find_remark(whole, image), side=min(image.shape[:2]))


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is one of a system's, and no image or class."""
    return name.startswith('.') or name in SYSTEM_FOLDERS


def _find_remark(whole: np.ndarray, image: np.ndarray) -> str:
    if whole.dtype.kind != 'u':
        return ''
    white = np.iinfo(whole.dtype).max
    if whole.ndim == 3 and whole.shape[2] == 4 and whole[..., 3].min() < white:
        return 'transparent parts are read with the colours that lie hidden there: paste it on a background'
    if whole.dtype != np.uint8 and image.max() < DARK and whole.max() > 0:
        return f'nearly black: its {whole.dtype} values end at {whole.max()}, where white is {white}: scale them'
    return ''
