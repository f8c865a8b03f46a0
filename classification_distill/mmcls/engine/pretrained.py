"""Every ``init_cfg`` of type Pretrained loads completely: seen before long work begins, and again after it happened.

MMEngine loads with ``strict=False`` and only logs what does not fit.
"""

import os
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from ..configs import loads_checkpoint
from .terminal import AT_TERMINAL


class PretrainedWeightsError(ValueError):
    """Weights named by an ``init_cfg`` that do not load completely."""


def check_pretrained_weights(model: nn.Module, config: Config | dict, allow_partial: bool = False) -> None:
    """Compare every module that has a Pretrained ``init_cfg`` with the checkpoint it names.

    Args:
        model: The built model, before ``init_weights``.
        config: The config it was built from, for the names of the fields.
        allow_partial: Log what does not load instead of raising. A checkpoint or prefix that holds nothing at all is
            refused even so.

    Raises:
        PretrainedWeightsError: For an empty or missing path, a prefix that matches nothing, a missing key, a shape
            that differs or, where a prefix is given, a key that the module lacks.
    """
    for source in _sources(model, config):
        expected = source.module.state_dict()
        problems = _compare(expected, source.state_dict, strict=source.strict)
        fitting = source.fitting()
        if problems and not (allow_partial and fitting):
            raise PretrainedWeightsError(
                f'{source.field} does not fit the model. {source.name}: {len(fitting)} of {len(expected)} tensors '
                f'from {source.checkpoint}.\n  '
                + '\n  '.join(problems)
                + '\nGive checkpoint and prefix of the same architecture, or allow it by '
                '--allow-partial-init of tools/train.py.'
            )
        for problem in problems:
            MMLogger.get_current_instance().warning(problem)


@HOOKS.register_module()
class PretrainedWeightsHook(Hook):
    """Before the first iteration, compare the model's tensors with the files that its ``init_cfg`` name.

    A run that goes on from a checkpoint, or loads one by ``load_from``, has that one's weights instead.

    Raises:
        PretrainedWeightsError: When a tensor that fits the model did not arrive.
    """

    def __init__(self):
        self._loaded = False

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        self._loaded = True

    def before_train(self, runner) -> None:
        if self._loaded:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        seen: set[str] = set()  # an outer module's weights are loaded after, so over, those of the modules in it
        for source in _sources(model, runner.cfg):
            names = {f'{source.name}.{key}'.lstrip('.'): key for key in source.fitting()}
            tensors = source.module.state_dict()
            lost = [k for name, k in names.items() if name not in seen and not _equal(tensors[k], source.state_dict[k])]
            seen |= names.keys()
            summary = f'{len(names) - len(lost)} of {len(tensors)} tensors equal those of {source.checkpoint}'
            if lost:
                raise PretrainedWeightsError(
                    f'{source.field} was not followed: after the initialisation {summary}. Others: '
                    f'{"; ".join(lost[:5])}. Something in the model initialises {source.name or "the model"} anew.'
                )
            runner.logger.info(f'{source.name or "model"}: {summary}', extra=AT_TERMINAL)


def _equal(tensor: Tensor, given: Tensor) -> bool:
    return torch.equal(tensor.cpu(), given.to(tensor.dtype))


@dataclass
class _Source:
    """A module that starts from a file: its name in the model, the config's field, and the file's tensors for it."""

    name: str
    module: nn.Module
    field: str
    checkpoint: str
    state_dict: dict[str, Tensor]
    strict: bool

    def fitting(self) -> list[str]:
        """Keys of the module that the file has in the same shape."""
        given = self.state_dict
        return [k for k, v in self.module.state_dict().items() if k in given and given[k].shape == v.shape]


def _sources(model: nn.Module, config: Config | dict) -> Iterator[_Source]:
    for name, module in model.named_modules():
        for init_cfg in _pretrained_init_cfgs(module):
            field = _find_field(config, init_cfg) or f'{name}.init_cfg'
            checkpoint, prefix = init_cfg['checkpoint'], init_cfg.get('prefix') or ''
            state_dict = _load_state_dict(checkpoint, prefix, field)
            yield _Source(name, module, field, checkpoint, state_dict, strict=bool(prefix))


def load_completely(model: nn.Module, checkpoint: str, field: str) -> None:
    """Load a checkpoint into a model that it must fit tensor by tensor.

    Args:
        model: The built model.
        checkpoint: The file.
        field: Field of the config that names the checkpoint, up to its last part, for the messages.

    Raises:
        PretrainedWeightsError: For an empty or missing path, or a key or shape that differs.
    """
    state_dict = _load_state_dict(checkpoint, '', field)
    if problems := _compare(model.state_dict(), state_dict, strict=True):
        raise PretrainedWeightsError(
            f'{field}.checkpoint={checkpoint!r} does not fit the model of {field}.config.\n  ' + '\n  '.join(problems)
        )
    model.load_state_dict(state_dict)


def _pretrained_init_cfgs(module: nn.Module) -> list[dict]:
    init_cfg = getattr(module, 'init_cfg', None) or []
    init_cfgs = [init_cfg] if isinstance(init_cfg, dict) else init_cfg
    return [c for c in init_cfgs if isinstance(c, dict) and loads_checkpoint(c)]


def _load_state_dict(path: str, prefix: str, field: str) -> dict[str, Tensor]:
    """The checkpoint's tensors under the prefix, which is taken off."""
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
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise PretrainedWeightsError(
            f'{field}.checkpoint={path!r} is damaged, or holds more than tensors and plain values: {error}'
        ) from error
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


def describe_prefixes(state_dict: Mapping[str, Tensor]) -> str:
    """The one- and two-part prefixes under which the most tensors lie."""
    counts = Counter()
    for key in state_dict:
        parts = key.split('.')
        counts.update('.'.join(parts[:n]) + '.' for n in (1, 2) if len(parts) > n)
    return ', '.join(f'{prefix!r} ({count} tensors)' for prefix, count in counts.most_common(8)) or 'none'


def _compare(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], strict: bool) -> list[str]:
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


def _find_field(config: Mapping, init_cfg: dict, field: str = 'model') -> str | None:
    """Where in the config the same ``init_cfg`` stands."""

    def walk(node, path: str) -> Iterator[str]:
        if isinstance(node, Mapping):
            if 'type' in node and loads_checkpoint(node) and dict(node) == dict(init_cfg):
                yield path
            for key, value in node.items():
                yield from walk(value, f'{path}.{key}')
        elif isinstance(node, list | tuple):
            for index, value in enumerate(node):
                yield from walk(value, f'{path}[{index}]')

    return next(walk(config.get(field, {}), field), None)
