"""Which checkpoint a run goes on from, and whether it can be read."""

import zipfile
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import get_torch_safe_globals

from .interruption import CHECKPOINT as INTERRUPTED
from .launch import refuse_code_in_checkpoints


class DamagedCheckpointError(RuntimeError):
    """A checkpoint that cannot be read."""


def settle_checkpoint(config: Config) -> list[str]:
    """Settle what ``load_from`` and ``resume`` name, before long work begins.

    Where a run is to go on from its newest checkpoint (``resume='auto'``, or ``resume`` without ``load_from``),
    ``load_from`` becomes the newest that can be read. It is the one that ``last_checkpoint`` names, or the latest
    written beside it. Where there is none yet, the run starts as it would without ``resume``.

    Returns:
        What is wrong with each newer checkpoint, for the log.

    Raises:
        FileNotFoundError: When the named file does not exist.
        DamagedCheckpointError: When the named file cannot be read, or none of the work directory's.
    """
    refuse_code_in_checkpoints()
    if config.get('resume') == 'auto' or (config.get('resume') and not config.get('load_from')):
        newest, problems = _find_newest(Path(config.work_dir).absolute())
        config.resume = newest is not None
        if newest:
            config.load_from = newest
            return problems
    path = config.get('load_from')
    if path and '://' not in path:  # MMEngine fetches the others
        source = f'--resume {path}' if config.get('resume') else f'load_from={path!r}'
        if not Path(path).is_file():
            raise FileNotFoundError(f'{source}: there is no such file in {Path.cwd()}.')
        if problem := find_damage(Path(path)):
            raise DamagedCheckpointError(f'{source}: the checkpoint cannot be used: {problem}.')
    return []


def _find_newest(work_dir: Path) -> tuple[str | None, list[str]]:
    """The newest checkpoint that can be read, None where there is none at all, and the problems of newer ones."""
    pointer = work_dir / 'last_checkpoint'
    named = pointer.read_text().strip() if pointer.is_file() else ''
    if '://' in named:
        return named, []
    problems = []
    for path in _candidates(work_dir, named):
        problem = find_damage(path)
        if problem is None:
            return str(path), problems
        problems.append(f'The checkpoint {path} cannot be used: {problem}. The one before it is used.')
    if problems:
        raise DamagedCheckpointError(
            '\n'.join([*problems, f'None in {work_dir} can be used. Train without --resume to start anew.'])
        )
    return None, []


def _candidates(work_dir: Path, named: str) -> list[Path]:
    """Checkpoints to resume from: the one that ``last_checkpoint`` names, then the others, the newest first."""
    first = [Path(named)] if named else []
    others = [
        path
        for folder in {work_dir, *(path.parent for path in first)}
        for pattern in ('epoch_*.pth', 'iter_*.pth', INTERRUPTED)
        for path in folder.glob(pattern)
    ]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return first + [path for path in others if path not in first]


def find_damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, as far as can be seen without building a model."""
    if not path.is_file():
        return 'it does not exist'
    if path.stat().st_size == 0:
        return 'it is empty'
    is_zip = zipfile.is_zipfile(path)  # torch.save's format, whose checksums cover all of it
    if is_zip:
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():
                return f'the checksum of {broken} in it is wrong'
    try:
        with torch.serialization.safe_globals(get_torch_safe_globals()):
            torch.load(path, map_location='cpu', weights_only=True, mmap=is_zip)
    except Exception as error:  # damaged bytes raise whatever they happen to
        return f'it is truncated, or holds more than tensors and plain values ({type(error).__name__})'
    return None
