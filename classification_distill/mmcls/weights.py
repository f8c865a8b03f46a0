"""Checkpoints as data: one safe reader, what a file holds, and whether it fits a model.

A checkpoint is data from strangers. Whatever reads one here, MMEngine's ``resume``, ``load_from`` and ``init_cfg``
included, unpickles tensors and plain values and runs nothing.
"""

import argparse
import io
import os
import pickle
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import is_model_wrapper
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .errors import MissingFileError, RepFusionError

STUDENT_PREFIX = 'student.backbone.'  # of a student's tensors in a checkpoint of RepFusion or KDClassifier


class CheckpointError(RepFusionError, ValueError):
    """A file that is damaged, or holds more than tensors and plain values."""


class PretrainedWeightsError(RepFusionError, ValueError):
    """Weights that do not load completely into the model they are for."""


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside of MMEngine's wrapper for several processes, where there is one."""
    return model.module if is_model_wrapper(model) else model


def _method_of_history(owner: type, name: str) -> Callable:
    """``getattr`` as far as a pickled HistoryBuffer, MMEngine's log of a value, needs it."""
    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) is not called')
    return getattr(owner, name)


_ALLOWED = [
    HistoryBuffer,
    (_method_of_history, 'builtins.getattr'),
    argparse.Namespace,  # arguments of a training, as SiT's and REPA's keep them
    bytes,
    np.ndarray,
    np.dtype,
    # How NumPy pickles arrays and scalars; 2.x has no public name for either.
    np._core.multiarray._reconstruct,
    np._core.multiarray.scalar,
    *(type(np.dtype(name)) for name in ('float64', 'float32', 'int64', 'int32', 'uint32', 'uint8')),
]


def load_checkpoint(path: str | Path, map_location='cpu', mmap: bool = False) -> dict:
    """Read a file that ``torch.save`` wrote. Nothing in it is run.

    Args:
        path: The file.
        map_location: As of ``torch.load``.
        mmap: Leave tensors on the disk until they are read, where the file's format allows it.

    Raises:
        FileNotFoundError: When there is no such file.
        CheckpointError: When it is damaged, or holds more than tensors and plain values.

    Examples:
        >>> load_checkpoint('work_dirs/ddpm-r18_hint/epoch_100.pth')['meta']['epoch']
        100
    """
    if not Path(path).is_file():
        raise MissingFileError(f'There is no file {str(path)!r} in {Path.cwd()}.')
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            mmap = mmap and zipfile.is_zipfile(path)
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f'{path} is damaged, or holds more than tensors and plain values; nothing in it was run. '
            f'({type(error).__name__}: {str(error).partition(chr(10))[0]})'
        ) from error


def load_weights(path: Path, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of one of ``torch.save``, on the CPU.

    Args:
        path: The file.
        names: Those that are wanted; by default all. They stay on the disk until they are used.

    Raises:
        CheckpointError: When it is damaged, or holds more than tensors.
    """
    if path.suffix != '.safetensors':
        state = load_checkpoint(path, mmap=True)
        return {name: state[name] for name in (state if names is None else names)}
    try:
        with safe_open(path, 'pt') as file:
            return {name: file.get_tensor(name) for name in (file.keys() if names is None else names)}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path} is damaged: {error}.') from error


def load_storage(data: bytes) -> Tensor:
    """The flat tensor of a storage that ``torch.save`` wrote into bytes. Nothing in them is run."""
    storage = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
    return torch.empty(0, dtype=storage.dtype).set_(storage)


def find_damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, as far as can be seen without building a model; None where nothing is."""
    if not path.is_file():
        return 'it does not exist'
    if path.stat().st_size == 0:
        return 'it is empty'
    if zipfile.is_zipfile(path):  # torch.save's format, whose checksums cover all of it
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():
                return f'the checksum of {broken} in it is wrong'
    try:
        load_checkpoint(path, mmap=True)
    except CheckpointError as error:
        return f'it is truncated, or holds more than tensors and plain values ({type(error.__cause__).__name__})'
    return None


def load_state_dict(path: str, prefix: str, field: str) -> dict[str, Tensor]:
    """A checkpoint's tensors under a prefix, which is taken off.

    Args:
        path: The file; MMEngine fetches those with ``://``.
        prefix: With or without its last dot; empty for all tensors.
        field: Field of the config that names the file, up to its last part, for the messages.

    Raises:
        PretrainedWeightsError: For an empty or missing path, a damaged file, or a prefix that matches nothing.
    """
    if not path:
        raise PretrainedWeightsError(f'{field}.checkpoint is empty: give the path of a checkpoint.')
    if os.path.isdir(path):
        raise PretrainedWeightsError(
            f'{field}.checkpoint={path!r} is a folder. Give the .pth file that a training wrote; a diffusion model has '
            'no weights for a student.'
        )
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    except FileNotFoundError as error:
        raise PretrainedWeightsError(_missing(path, field)) from error
    except (CheckpointError, pickle.UnpicklingError) as error:
        raise PretrainedWeightsError(f'{field}.checkpoint={path!r} cannot be used: {error}') from error
    state_dict = checkpoint.get('state_dict', checkpoint)
    if prefix and not prefix.endswith('.'):
        prefix += '.'
    selected = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
    if not selected:
        raise PretrainedWeightsError(
            f'{field}.prefix={prefix!r} matches nothing in {path}. Prefixes that it holds: '
            f'{describe_prefixes(state_dict)}.'
        )
    return selected


def _missing(path: str, field: str) -> str:
    folder = os.path.dirname(path) or '.'
    found = sorted(name for name in os.listdir(folder) if name.endswith('.pth')) if os.path.isdir(folder) else []
    return (
        f'{field}.checkpoint={path!r} does not exist in {os.getcwd()}. '
        + (f'Its folder holds {", ".join(found)}. ' if found else 'The training that writes it has not been run here. ')
        + f'Another is named by --cfg-options {field}.checkpoint=FILE.'
    )


def load_completely(model: nn.Module, checkpoint: str, field: str) -> None:
    """Load a checkpoint into a model that it must fit tensor by tensor.

    Args:
        model: The built model.
        checkpoint: The file.
        field: Field of the config that names the checkpoint, up to its last part, for the messages.

    Raises:
        PretrainedWeightsError: For an empty or missing path, or a key or shape that differs.
    """
    state_dict = load_state_dict(checkpoint, '', field)
    if problems := compare(model.state_dict(), state_dict, strict=True):
        raise PretrainedWeightsError(
            f'{field}.checkpoint={checkpoint!r} does not fit the model of {field}.config.\n  ' + '\n  '.join(problems)
        )
    model.load_state_dict(state_dict)


def describe_prefixes(state_dict: Mapping[str, Tensor]) -> str:
    """The one- and two-part prefixes under which the most tensors lie."""
    counts = Counter()
    for key in state_dict:
        parts = key.split('.')
        counts.update('.'.join(parts[:n]) + '.' for n in (1, 2) if len(parts) > n)
    return ', '.join(f'{prefix!r} ({count} tensors)' for prefix, count in counts.most_common(8)) or 'none'


def compare(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], strict: bool) -> list[str]:
    """What keeps ``given`` from loading into a model of ``expected``; with ``strict`` what is left over, too."""
    missing = [key for key in expected if key not in given]
    differing = [
        f'{key} is {tuple(given[key].shape)}, expected {tuple(value.shape)}'
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    unknown = [key for key in given if key not in expected] if strict else []
    rows = (('Missing', missing), ('Shapes that differ', differing), ('Not in the model', unknown))
    return [
        f'{title} ({len(keys)}): {"; ".join(keys[:5])}{" ..." if len(keys) > 5 else ""}' for title, keys in rows if keys
    ]


@contextmanager
def _only_data() -> Iterator[None]:
    """Let whoever calls ``torch.load`` inside unpickle data alone."""
    name = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
    before = os.environ.get(name)
    os.environ[name] = '1'
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def load_from_local(filename: str, map_location=None) -> dict:
    """``load_checkpoint`` under the name that MMEngine's log makes a sentence of."""
    return load_checkpoint(os.path.expanduser(filename), map_location)


def _as_data(fetch: Callable) -> Callable:
    @wraps(fetch)
    def load(filename: str, map_location=None, **options):
        with _only_data():
            return fetch(filename, map_location, **options)

    return load


# MMEngine's own loaders run a file that does not unpickle as data. Those that fetch call torch.load themselves.
CheckpointLoader.register_scheme('', load_from_local, force=True)
for _prefixes, _loader in {
    ('http://', 'https://'): mmengine_checkpoint.load_from_http,
    ('modelzoo://', 'torchvision://'): mmengine_checkpoint.load_from_torchvision,
    ('open-mmlab://', 'openmmlab://'): mmengine_checkpoint.load_from_openmmlab,
    ('mmcls://',): mmengine_checkpoint.load_from_mmcls,
    ('pavi://',): mmengine_checkpoint.load_from_pavi,
    (r'(\S+\:)?s3://', r'(\S+\:)?petrel://'): mmengine_checkpoint.load_from_ceph,
}.items():
    CheckpointLoader.register_scheme(list(_prefixes), _as_data(_loader), force=True)
