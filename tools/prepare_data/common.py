"""What the scripts of this folder share: their command line, checks, and writing that leaves nothing half-done."""

import argparse
import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from PIL import Image
from tqdm import tqdm

DATA_ROOT = Path(__file__).resolve().parents[2] / 'data'
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')
# In a pipe, where nobody sees it move, twice a minute.
progress_bar = partial(tqdm, mininterval=0.1 if sys.stderr.isatty() else 30)
DAMAGES = (EOFError, zipfile.BadZipFile, zlib.error)  # what zipfile raises for a damaged archive


class DataError(SystemExit):
    """Ends a script with exit code 1 and a sentence that says what was found, what was expected and what to do."""


def run(main: Callable[[], None]) -> None:
    """Run a script, which Ctrl-C ends with a sentence and, as a shell expects, exit code 130."""
    try:
        main()
    except KeyboardInterrupt:
        print('Stopped by Ctrl-C. Run the same command again.', file=sys.stderr)
        sys.exit(130)


def parse_args(
    description: str, folder: Path, archive: str | None = None, images: str | None = None
) -> argparse.Namespace:
    """Read ``[FOLDER] [--archive FILE] [--images FOLDER] [--check]``.

    ``archive`` is the published name of an archive, and ``images`` the layout of a folder, where a script takes one.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument('folder', nargs='?', type=Path, default=folder, help=f'by default {folder}')
    parser.add_argument('--check', action='store_true', help='write nothing, say whether the folder is complete')
    if archive:
        parser.add_argument('--archive', type=Path, help=f'{archive}, as downloaded')
    if images:
        parser.add_argument('--images', type=Path, help=images)
    args = parser.parse_args()
    args.folder = args.folder.resolve()
    if args.folder.exists() and not args.folder.is_dir():
        raise DataError(f'{args.folder} is a file. Give a folder.')
    return args


def report(folder: Path, problems: Sequence[str], contents: str, advice: str) -> None:
    """Say that the folder is complete.

    Raises:
        DataError: When there are problems; ``advice`` says where the data comes from.
    """
    if problems:
        shown = [*problems[:10], f'... and {len(problems) - 10} more'] if len(problems) > 10 else problems
        raise DataError(f'{folder} is not complete:\n  ' + '\n  '.join(shown) + f'\n{advice}')
    print(f'{folder} is complete: {contents}.')


def first(names: Sequence[str], count: int = 5) -> str:
    return ', '.join(names[:count]) + (', ...' if len(names) > count else '')


def images_by_class(folder: Path) -> dict[str, list[str]]:
    """The images below each class folder, as paths relative to ``folder``; a folder that is missing has no classes."""
    if not folder.is_dir():
        return {}
    classes = {}
    for name in progress_bar(
        sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()), folder.name, leave=False
    ):
        images = []
        for root, _, files in os.walk(folder / name):
            below = os.path.relpath(root, folder)
            images += [os.path.join(below, file) for file in files if file.lower().endswith(IMAGE_SUFFIXES)]
        classes[name] = sorted(images)
    return classes


def broken_images(names: Sequence[str], open_file: Callable[[str], IO[bytes]], count: int = 50) -> list[str]:
    """Decode about ``count`` images, evenly spread over ``names``, and say which do not decode."""
    problems = []
    for name in names[:: max(1, len(names) // count)]:
        try:
            with open_file(name) as file, Image.open(file) as image:
                image.load()
        except (OSError, SyntaxError, *DAMAGES) as error:
            problems.append(f'{name} does not decode: {error}')
    return problems


def require_space(folder: Path, num_bytes: int) -> None:
    """Refuse to begin what would not fit on the disk of ``folder``, which need not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < num_bytes:
        raise DataError(
            f'{folder} needs {num_bytes / 1e6:,.0f} MB, and its disk has {free / 1e6:,.0f} MB free. '
            'Make room, or give a folder on another disk.'
        )


def write_file(path: Path, source: IO[bytes]) -> None:
    """Write a file that appears under its name only when it is whole.

    Raises:
        DataError: When it cannot be written, as on a full disk.
    """
    partial = path.with_name(path.name + '.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, 'wb') as file:
            shutil.copyfileobj(source, file)
        partial.replace(path)
    except OSError as error:
        raise DataError(
            f'{path} could not be written: {error}. Fix this and run the same command again; it continues from there.'
        ) from error
    finally:
        if path.parent.is_dir():
            partial.unlink(missing_ok=True)


@contextmanager
def open_zip(path: Path, url: str) -> Iterator[zipfile.ZipFile]:
    """Open an archive; its list of members, at its end, tells at once whether it is truncated."""
    if not path.is_file():
        raise DataError(f'There is no file {path}. Download it from {url}.')
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DAMAGES as error:
        raise DataError(
            f'{path} ({path.stat().st_size:,} bytes) is truncated, damaged or no zip archive: {error}. '
            f'Download it again from {url}.'
        ) from error


def unpack(archive: zipfile.ZipFile, targets: Mapping[str, str], folder: Path) -> None:
    """Write members of a zip archive, ``{member: path below folder}``, into ``folder``.

    A new folder bears its name only once everything is in it; until then it is ``<folder>.partial``, where the next run
    goes on. In a folder that is there already, only files that are missing or differ from the archive are written.

    Raises:
        DataError: When ``folder`` holds something else altogether, a sample of the images does not decode, the disk has
            too little room or fills up, or a member is damaged.
    """
    folder = folder.resolve()  # of a link to another disk
    present = os.listdir(folder) if folder.exists() else []
    if present and not any((folder / target).exists() for target in targets.values()):
        raise DataError(f'{folder} holds something else: {first(sorted(present))}. Give a folder of its own.')
    broken = broken_images([name for name in targets if name.lower().endswith(IMAGE_SUFFIXES)], archive.open)
    if broken:
        raise DataError(f'{archive.filename} is damaged: {first(broken)}. Download it again.')
    root = folder if present else folder.with_name(folder.name + '.partial')
    waiting = {name: root / target for name, target in targets.items() if not _holds(root / target, archive, name)}
    blocks = sum(-(-archive.getinfo(name).file_size // 4096) for name in waiting)  # a file takes whole disk blocks
    require_space(root, 4096 * blocks)
    for name, path in progress_bar(waiting.items(), f'unpacking to {root.name}'):
        try:
            with archive.open(name) as file:
                write_file(path, file)
        except DAMAGES as error:
            raise DataError(f'{archive.filename} is damaged at {name}: {error}. Download it again.') from error
    if root != folder:
        root.rename(folder)


def _holds(path: Path, archive: zipfile.ZipFile, name: str) -> bool:
    member = archive.getinfo(name)
    return (
        path.is_file()
        and path.stat().st_size == member.file_size
        and zlib.crc32(path.read_bytes()) == member.CRC
    )  # fmt: skip
