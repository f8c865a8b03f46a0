"""Loading of a text-to-image pipeline: whole, and as the teacher does, each in a process of its own."""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ..errors import UnusableInputError
from ..models.teachers import TextToImageTeacher
from .own_process import in_own_process


def measure(folder: Path) -> list[dict]:
    """Load a pipeline each way from a cold disk, and use each weight once; the teacher reads its own default layer.

    Args:
        folder: What ``pipeline.save_pretrained()`` wrote.

    Returns:
        list[dict]: A row a way: ``way``, ``load_seconds``, and in bytes ``peak_memory``, ``private_memory``, which it
        keeps and shares with no other process, and ``read`` from the disk.

    Raises:
        UnusableInputError: When there is no pipeline.
    """
    if not (folder / 'model_index.json').is_file():
        raise UnusableInputError(f'{folder} is no folder of a pipeline: it holds no model_index.json.')
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        # The teacher comes twice: the second time it has the prompt, and loads no text encoder.
        for way in [*_WAYS, 'teacher, again']:
            print(f'{way}: loading ...', file=sys.stderr)
            load = _WAYS.get(way, _load_teacher)
            rows.append({'way': way} | in_own_process(_measure, load, folder, cache))
    return rows


def _load_whole(folder: Path, dtype: torch.dtype = torch.float32) -> list[nn.Module]:
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(folder, dtype=dtype)
    return [part for part in pipeline.components.values() if isinstance(part, nn.Module)]


def _load_whole_halved(folder: Path) -> list[nn.Module]:
    return _load_whole(folder, torch.bfloat16)


def _load_teacher(folder: Path) -> list[nn.Module]:
    return [TextToImageTeacher(str(folder)).held]


_WAYS: dict[str, Callable[[Path], list[nn.Module]]] = {
    'whole, float32': _load_whole,
    'whole, bfloat16': _load_whole_halved,
    'teacher': _load_teacher,
}


def _measure(load: Callable, folder: Path, cache: str) -> dict:
    import diffusers  # noqa: F401, which is not what is measured
    import transformers  # noqa: F401

    os.environ['XDG_CACHE_HOME'] = cache
    _forget(folder)
    Path('/proc/self/clear_refs').write_text('5')  # the peak begins here
    before, read, start = _memory(), _read_from_disk(), time.perf_counter()
    networks = load(folder)
    for network in networks:
        for weight in network.parameters():
            weight.sum()
    seconds, after = time.perf_counter() - start, _memory()
    return {
        'load_seconds': seconds,
        'peak_memory': after['VmHWM'] - before['VmRSS'],
        'private_memory': after['RssAnon'] - before['RssAnon'],
        'read': _read_from_disk() - read,
    }


def _forget(folder: Path) -> None:
    """Ask the system to drop what it keeps of a folder's files in memory."""
    os.sync()
    for path in folder.rglob('*'):
        if path.is_file():
            with path.open('rb') as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _memory() -> dict[str, int]:
    lines = (line.split() for line in Path('/proc/self/status').read_text().splitlines())
    return {line[0].rstrip(':'): 1024 * int(line[1]) for line in lines if line[-1] == 'kB'}


def _read_from_disk() -> int:
    return int(Path('/proc/self/io').read_text().partition('read_bytes: ')[2].split()[0])
