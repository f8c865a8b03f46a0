"""Files and folders that are there whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a name beside ``path`` to write a file or folder to, which then becomes ``path``, or leaves it as it was.

    Examples:
        >>> with written_whole('report.html') as partial:
        ...     partial.write_text(page)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.partial')
    remove(partial)
    try:
        yield partial
        if partial.is_file():
            with open(partial, 'rb') as file:
                os.fsync(file.fileno())  # else a power cut leaves the name without the contents
        partial.replace(path)
    finally:
        remove(partial)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(text)


def read_rows(path: Path) -> list[dict]:
    """The rows of a file of JSON, one a line; what a crash, or a full disk, has cut short is left out."""
    rows = []
    for line in path.read_text().splitlines():
        with suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def cache_folder(name: str) -> Path:
    """Where what can be made again is kept between runs: ``~/.cache/repfusion/<name>``, or in ``XDG_CACHE_HOME``."""
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache', 'repfusion', name).expanduser()


def remove(path: Path) -> None:
    """Remove a file or a folder, where there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
