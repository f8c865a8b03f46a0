"""Calls scripts of tools/prepare_data in this process, and looks at what they leave."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pytest
from prepare_data.common import DataError


def run(script: ModuleType, *args) -> None:
    with patch.object(sys, 'argv', ['script', *map(str, args)]):
        script.main()


@contextmanager
def expect(*words) -> Iterator[None]:
    """The script must end with a message that holds all the words."""
    with pytest.raises(DataError) as error:
        yield
    message = str(error.value)
    assert error.value.code == message  # python prints it and exits with 1
    for word in words:
        assert str(word) in message


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """``{path: (content, time of change)}`` of every file below a folder."""
    paths = [path for path in sorted(folder.rglob('*')) if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob('*') if path.suffix in ('.JPEG', '.jpg'))
