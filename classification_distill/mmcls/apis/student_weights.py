"""Trained weights from which a student starts, whatever library they are from."""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from ..errors import MissingFileError, UnusableInputError
from ..files import written_whole
from ..weights import STUDENT_PREFIX, PretrainedWeightsError, compare, load_checkpoint, load_weights

# Of a backbone's tensors in files of mmcls, of MMPretrain, and of a backbone alone.
PREFIXES = (STUDENT_PREFIX, 'backbone.', '')
OF_TIMM = 'timm_model.'


def write_starting_weights(source: Path, backbone: dict, path: Path, begun: bool = False) -> dict:
    """Write a backbone's part of a file of weights.

    Args:
        source: ``.pth`` or ``.safetensors`` of the network, alone or in a model; or folder of a published student.
        backbone: Config of the backbone.
        path: File to write.
        begun: Whether a training began with this file, which then must be of the same weights.

    Returns:
        dict: The ``init_cfg`` by which the backbone starts from it.

    Raises:
        MissingFileError: When there is no such file.
        PretrainedWeightsError: When it lacks a tensor of the backbone, or has one in another shape.
        UnusableInputError: When a training began with other weights.
    """
    expected = MODELS.build(copy.deepcopy(backbone)).state_dict()
    found = _read(source)
    parts = {prefix: _named_as(expected, found, prefix) for prefix in PREFIXES}
    part = max(parts.values(), key=len)  # the first, where prefixes match as many
    # Older files do not count the batches of batch norm, which nothing here reads.
    part |= {key: value for key, value in expected.items() if key.endswith('num_batches_tracked') and key not in part}
    if problems := compare(expected, part, strict=False):
        raise PretrainedWeightsError(f'{source} does not fit the student.\n  ' + '\n  '.join(problems))
    if begun and path.is_file():
        earlier = load_checkpoint(path)['state_dict']
        if earlier.keys() != part.keys() or any(not torch.equal(earlier[key], value) for key, value in part.items()):
            raise UnusableInputError(
                f'{path.parent} is of a training that began with other weights than {source}: give it those, or give '
                'another --out.'
            )
    with written_whole(path) as partial:
        torch.save({'state_dict': part}, partial)
    return {'type': 'Pretrained', 'checkpoint': str(path)}


def _read(source: Path) -> dict[str, Tensor]:
    if source.is_dir():
        names = ('model.safetensors', 'student.pth')
        source = next((source / name for name in names if (source / name).is_file()), source / names[0])
    if not source.is_file():
        raise MissingFileError(f'There is no file {str(source)!r} with weights for the student.')
    if source.suffix == '.safetensors':
        return load_weights(source)
    checkpoint = load_checkpoint(source)
    return checkpoint.get('state_dict', checkpoint)


def _named_as(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix by the backbone's names; in timm's own files one part of the name is missing."""
    names = {key: (prefix + key, prefix + key.removeprefix(OF_TIMM)) for key in expected}
    return {key: found[name] for key, both in names.items() for name in both[::-1] if name in found}
