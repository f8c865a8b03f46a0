"""The images of a folder: which can be read, and of which class each is."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import mmcv
from tqdm import tqdm

from ..errors import UnusableInputError
from ..files import write_text

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.ppm', '.pgm', '.tif', '.tiff', '.webp')
UNREADABLE = 'unreadable.txt'
IMAGES = 'images.txt'
CLASSES = 'classes.txt'
NAMED = 5  # files that a message names


@dataclass
class FolderImages:
    """What was found.

    Attributes:
        count: Number of images that can be read.
        unreadable: ``name -> why`` of those that cannot.
        classes: Names of the subfolders, where they are the classes.
    """

    count: int
    unreadable: dict[str, str]
    classes: list[str]


def list_images(folder: Path, out: Path, with_classes: bool) -> FolderImages:
    """Decode every image below ``folder``, once, and write into ``out`` what MMPretrain's ``CustomDataset`` reads.

    ``images.txt`` names those that can be read, with the number of the class where there are classes, whose names are
    in ``classes.txt``. ``unreadable.txt`` names the others, and why.

    Raises:
        UnusableInputError: When there are no images, one lies in no class, or they are not those of an earlier call.
    """
    names = sorted(_find(folder, out))
    if not names:
        raise UnusableInputError(
            f'{folder} holds no images: expected files that end in {" ".join(SUFFIXES)}, at any depth.'
        )
    unreadable = _find_unreadable(folder, names, out / UNREADABLE)
    readable = [name for name in names if name not in unreadable]
    if not readable:
        raise UnusableInputError(
            f'None of the {len(names)} images in {folder} can be read; {out / UNREADABLE} says why.'
        )
    classes, lines = [], readable
    if with_classes:
        classes = _find_classes(folder, readable)
        numbers = {name: number for number, name in enumerate(classes)}
        lines = [f'{name} {numbers[name.partition("/")[0]]}' for name in readable]
        write_text(out / CLASSES, lines_of(classes))
    earlier = (out / IMAGES).read_text().splitlines() if (out / IMAGES).is_file() else lines
    if earlier != lines:
        changed = sorted(set(earlier) ^ set(lines))
        raise UnusableInputError(
            f'{folder} is not as it was when {out} was begun: {len(changed)} images differ ({_first(changed)}). '
            'Give another --out.'
        )
    write_text(out / IMAGES, lines_of(lines))
    return FolderImages(len(readable), unreadable, classes)


def lines_of(names: list[str]) -> str:
    return ''.join(f'{name}\n' for name in names)


def _find(folder: Path, out: Path) -> Iterator[str]:
    """Names of image files below ``folder``, relative to it; those below ``out`` are results.

    Links to folders are followed, but not into one that the link lies in, where it would go on for ever.
    """
    above = {str(folder): {folder.resolve()}}  # of each folder to be walked: itself and those it lies in, without links
    for root, directories, files in os.walk(folder, followlinks=True):
        path = above.pop(root)
        real = {name: Path(root, name).resolve() for name in directories}
        directories[:] = [name for name in directories if real[name] not in {out, *path}]
        above.update({os.path.join(root, name): path | {real[name]} for name in directories})
        yield from (
            Path(root, file).relative_to(folder).as_posix() for file in files if file.lower().endswith(SUFFIXES)
        )


def _find_unreadable(folder: Path, names: list[str], record: Path) -> dict[str, str]:
    """``name -> why``; what ``record`` says, where it was written before."""
    if not record.is_file():
        # Reading and decoding leave Python to the other threads.
        with ThreadPoolExecutor() as pool:
            problems = pool.map(lambda name: _problem(folder / name), names)
            problems = list(tqdm(problems, 'reading images', len(names), unit='image', disable=None))
        found = [f'{name}\t{problem}' for name, problem in zip(names, problems, strict=True) if problem]
        write_text(record, lines_of(found))
    return dict(line.split('\t', 1) for line in record.read_text().splitlines())


def _problem(path: Path) -> str:
    """Why training could not read an image; nothing where it can. It decodes as MMCV's LoadImageFromFile does."""
    try:
        content = path.read_bytes()
        image = mmcv.imfrombytes(content) if content else None
    except (OSError, cv2.error) as error:
        return ' '.join(str(error).split())
    if image is None:
        return 'it is damaged or no image' if content else 'it is empty'
    return ''


def _find_classes(folder: Path, names: list[str]) -> list[str]:
    """The subfolders that hold images.

    Raises:
        UnusableInputError: When there are fewer than two, or an image lies in none.
    """
    if loose := [name for name in names if '/' not in name]:
        raise UnusableInputError(
            f'{len(loose)} images lie in no subfolder of {folder} ({_first(loose)}), so they have no class. Move '
            'them, or leave out --subfolders-are-classes.'
        )
    classes = sorted({name.partition('/')[0] for name in names})
    if len(classes) < 2:
        raise UnusableInputError(
            f'{folder} has images in one subfolder alone, {classes[0]!r}: one class teaches nothing. Leave out '
            '--subfolders-are-classes.'
        )
    return classes


def _first(names: list[str]) -> str:
    return ', '.join(names[:NAMED]) + (', ...' if len(names) > NAMED else '')
