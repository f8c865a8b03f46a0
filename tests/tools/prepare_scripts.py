"""Calls scripts of tools/prepare_data in this process, and looks at what they leave."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import celebahq
import pytest
import small_datasets
import tiny_imagenet
from common import DataError

zips = pytest.mark.parametrize(
    ('script', 'write_raw', 'name'),
    [
        pytest.param(tiny_imagenet, small_datasets.write_raw_tiny_imagenet, 'tiny-imagenet-200', id='tiny_imagenet'),
        pytest.param(celebahq, small_datasets.write_raw_celebahq, 'CelebAMask-HQ', id='celebahq'),
    ],
)


def set_small_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts expect as many images as the small data sets have."""
    monkeypatch.setattr(celebahq, 'NUM_IMAGES', 6)
    monkeypatch.setattr(tiny_imagenet, 'NUM_CLASSES', 3)
    monkeypatch.setattr(tiny_imagenet, 'IMAGES_PER_CLASS', {'train': 6, 'val': 2})


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


def unfinished(folder: Path) -> list[Path]:
    """Files beside or below a folder that are half-written."""
    return [path for path in folder.parent.rglob('*.partial') if path.is_file()]


def unpacked(script: ModuleType, folder: Path) -> Path:
    """The folder that bears its name only when all is in it."""
    return folder / celebahq.IMAGES if script is celebahq else folder
