"""The images of a folder: which can be read, and of which class each is."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ..datasets.image_files import SUFFIXES, FoundFiles, find_images, look_at
from ..errors import UnusableInputError
from ..files import write_text
from ..progress import ProgressBar

IMAGES = 'images.json'
RECORD = 'files.jsonl'
NAMED = 5  # files that a message names


@dataclass
class FolderImages:
    """What was found.

    Attributes:
        count: Number of images that can be read.
        median_side: Median of their shorter sides in pixels.
        classes: Names of the subfolders, where they are the classes.
        notes: A line for each oddity: files left out, files read otherwise than they look.
        annotations: Those that can be read, with their class where there are classes, for MMPretrain's ``BaseDataset``:
            MMEngine's format, which holds any name.
    """

    count: int
    median_side: int
    classes: list[str]
    notes: list[str]
    annotations: str


def list_images(folder: Path, out: Path, with_classes: bool, begun: bool = False) -> FolderImages:
    """Decode every image below ``folder``.

    ``files.jsonl`` in ``out`` gets a line for each file that was looked at; what has not changed since is not decoded
    again.

    Args:
        folder: Folder of the images.
        out: Folder of the results.
        with_classes: Whether the subfolders are classes.
        begun: Whether a training on an earlier list has begun. It goes on with what is there now.

    Raises:
        UnusableInputError: When there are no images, one lies in no class, or the classes of a begun training changed.
    """
    found = find_images(folder, out)
    if not found.images:
        raise UnusableInputError(
            f'{folder} holds no images: expected files that end in {" ".join(SUFFIXES)}, at any depth'
            f'{"".join(f"; {note}" for note in _notes_on_names(found))}.'
        )
    looked_at = _look_at_all(folder, found.images, out / RECORD)
    unreadable = {name: entry['problem'] for name, entry in looked_at.items() if entry.get('problem')}
    odd = {name: entry['remark'] for name, entry in looked_at.items() if entry.get('remark')}
    readable = [name for name in found.images if name not in unreadable]
    if not readable:
        raise UnusableInputError(
            f'None of the {len(found.images)} images in {folder} can be read; {out / RECORD} says why.'
        )
    classes = _find_classes(folder, readable) if with_classes else []
    notes = _notes_on_names(found)
    if unreadable:
        notes.append(f'{len(unreadable):,} cannot be read and are left out ({out / RECORD}):{_listed(unreadable)}')
    if odd:
        notes.append(f'{len(odd):,} are read otherwise than they look ({out / RECORD}):{_listed(odd)}')
    if begun:
        notes += _compare(out / IMAGES, readable, classes)
    numbers = {name: number for number, name in enumerate(classes)}
    entries = [
        {'img_path': name} | ({'gt_label': numbers[name.partition('/')[0]]} if classes else {}) for name in readable
    ]
    metainfo = json.dumps({'classes': classes} if classes else {})
    lines = ',\n'.join(map(json.dumps, entries))
    side = int(median(looked_at[name]['side'] for name in readable))
    annotations = f'{{"metainfo": {metainfo}, "data_list": [\n{lines}\n]}}\n'
    return FolderImages(len(readable), side, classes, notes, annotations)


def _notes_on_names(found: FoundFiles) -> list[str]:
    notes = []
    if found.hidden:
        notes.append(f'{len(found.hidden):,} hidden files and folders are left out: {_first(found.hidden)}')
    if found.others:
        notes.append(f'{len(found.others):,} files are of kinds that cannot be read: {_first(found.others)}')
    return notes


def _look_at_all(folder: Path, names: list[str], record: Path) -> dict[str, dict]:
    """``name -> entry`` of ``record``, which is brought up to date."""
    lines = record.read_text().splitlines() if record.is_file() else []
    earlier = {entry['name']: entry for entry in map(json.loads, lines) if entry.keys() & {'problem', 'side'}}
    entries = {name: {'name': name} | _state(folder / name) for name in names}
    new = [name for name, entry in entries.items() if not entry.items() <= earlier.get(name, {}).items()]
    # Reading and decoding leave Python to the other threads.
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda name: look_at(folder / name), new)
        results = ProgressBar(results, 'reading images', len(new), unit='image')
        for name, look in zip(new, results, strict=True):
            entries[name] |= {key: value for key, value in look._asdict().items() if value}
            earlier[name] = entries[name]
    entries = {name: earlier[name] for name in names}
    write_text(record, ''.join(f'{json.dumps(entry)}\n' for entry in entries.values()))
    return entries


def _state(path: Path) -> dict:
    """By what a file is known not to have changed."""
    try:
        status = path.stat()
    except OSError:  # looking at it says why
        return {'bytes': None, 'modified': None}
    return {'bytes': status.st_size, 'modified': status.st_mtime_ns}


def _compare(path: Path, readable: list[str], classes: list[str]) -> list[str]:
    """What has changed since the training began."""
    if not path.is_file():
        return []
    earlier = json.loads(path.read_text())
    before = earlier['metainfo'].get('classes', [])
    if before != classes:
        raise UnusableInputError(
            f'The training in {path.parent} has {_first(before) or "no classes"}, and now there are '
            f'{_first(classes) or "none"}. Repeat the call as it was, or give another --out.'
        )
    changed = sorted({entry['img_path'] for entry in earlier['data_list']} ^ set(readable))
    if not changed:
        return []
    return [f'{len(changed):,} images have come or gone since the training began ({_first(changed)}): what is left '
            'of it sees those that are there.']  # fmt: skip


def _find_classes(folder: Path, names: list[str]) -> list[str]:
    """The subfolders that hold images.

    Raises:
        UnusableInputError: When there are fewer than two, or an image lies in none.
    """
    if loose := [name for name in names if '/' not in name]:
        raise UnusableInputError(
            f'{len(loose)} images lie in no subfolder of {folder} ({_first(loose)}), so they have no class. Move '
            'them, or distil without --subfolders-are-classes.'
        )
    classes = sorted({name.partition('/')[0] for name in names})
    if len(classes) < 2:
        raise UnusableInputError(
            f'{folder} has images in one subfolder alone, {classes[0]!r}: one class teaches nothing. Add '
            'another, or distil without --subfolders-are-classes.'
        )
    return classes


def _first(names: list[str]) -> str:
    return ', '.join(map(_printable, names[:NAMED])) + (', ...' if len(names) > NAMED else '')


def _listed(reasons: dict[str, str]) -> str:
    return ''.join(f'\n  {_printable(name)}: {reason}' for name, reason in list(reasons.items())[:NAMED])


def _printable(name: str) -> str:
    """A name on one line, whatever bytes the file system lets it have."""
    return repr(name)[1:-1]
