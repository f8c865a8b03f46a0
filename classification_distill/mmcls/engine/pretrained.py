"""Check, before the first iteration, that every ``init_cfg`` of type Pretrained loads completely.

MMEngine loads with ``strict=False`` and only logs what does not fit.
"""

import os
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

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
    logger = MMLogger.get_current_instance()
    for name, module in model.named_modules():
        for init_cfg in _pretrained_init_cfgs(module):
            field = _find_field(config, init_cfg) or f'{name}.init_cfg'
            state_dict = _load_state_dict(init_cfg['checkpoint'], init_cfg.get('prefix') or '', field)
            expected = module.state_dict()
            problems = _compare(expected, state_dict, strict=bool(init_cfg.get('prefix')))
            loaded = sum(k in state_dict and state_dict[k].shape == v.shape for k, v in expected.items())
            summary = f'{name}: {loaded} of {len(expected)} tensors from {init_cfg["checkpoint"]}'
            if problems and not (allow_partial and loaded):
                raise PretrainedWeightsError(
                    f'{field} does not fit the model. {summary}.\n  '
                    + '\n  '.join(problems)
                    + '\nGive checkpoint and prefix of the same architecture, or allow it by '
                    '--allow-partial-init of tools/train.py.'
                )
            logger.info(summary, extra=AT_TERMINAL)
            for problem in problems:
                logger.warning(problem)


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
    return [c for c in init_cfgs if isinstance(c, dict) and c.get('type') == 'Pretrained']


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
            if node.get('type') == 'Pretrained' and dict(node) == dict(init_cfg):
                yield path
            for key, value in node.items():
                yield from walk(value, f'{path}.{key}')
        elif isinstance(node, list | tuple):
            for index, value in enumerate(node):
                yield from walk(value, f'{path}[{index}]')

    return next(walk(config.get(field, {}), field), None)
