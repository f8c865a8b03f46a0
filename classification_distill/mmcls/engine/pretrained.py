"""The weights that models start from: compared with the files before, and again after they were loaded.

MMEngine loads an ``init_cfg`` of type Pretrained, and ``load_from``, with ``strict=False`` and only logs what does not
fit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from ..configs import loads_checkpoint, walk
from ..weights import PretrainedWeightsError, compare, describe_prefixes, load_state_dict, unwrap
from .terminal import AT_TERMINAL


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
        problems = compare(expected, source.state_dict, strict=source.strict)
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


def check_start(model: nn.Module, config: Config, allow_partial: bool = False) -> None:
    """Look at everything that a training of ``config`` starts from: ``init_cfg`` and ``load_from``.

    Args and errors are those of ``check_pretrained_weights`` and ``check_checkpoint``.
    """
    check_pretrained_weights(model, config, allow_partial)
    if config.get('load_from') and not config.get('resume'):
        check_checkpoint(model, config.load_from, allow_partial)


def check_checkpoint(model: nn.Module, path: str, allow_partial: bool = False) -> None:
    """Compare a model with a checkpoint that MMEngine would load with ``strict=False``, whatever is in it.

    Args:
        model: The built model.
        path: The checkpoint, as ``load_from`` names it; only local files are looked at.
        allow_partial: Log what the checkpoint lacks instead of raising, where it has something.

    Raises:
        PretrainedWeightsError: When tensors of the model are not in the file, or in another shape.
    """
    if not Path(path).is_file():
        return
    expected, given = model.state_dict(), load_state_dict(path, '', 'load_from')
    problems = compare(expected, given, strict=False)
    if problems and not (allow_partial and expected.keys() & given.keys()):
        raise PretrainedWeightsError(
            f'{path} is no checkpoint of this model.\n  ' + '\n  '.join(problems) + '\nA student is loaded from a '
            f'distillation by init_cfg and its prefix. Prefixes in the file: {describe_prefixes(given)}.'
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
        model = unwrap(runner.model)
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
            state_dict = load_state_dict(checkpoint, prefix, field)
            yield _Source(name, module, field, checkpoint, state_dict, strict=bool(prefix))


def _pretrained_init_cfgs(module: nn.Module) -> list[dict]:
    init_cfg = getattr(module, 'init_cfg', None) or []
    init_cfgs = [init_cfg] if isinstance(init_cfg, dict) else init_cfg
    return [c for c in init_cfgs if isinstance(c, dict) and loads_checkpoint(c)]


def _find_field(config: Mapping, init_cfg: dict) -> str | None:
    """Where in the config the same ``init_cfg`` stands."""
    for path, node in walk(config.get('model', {}), 'model'):
        if isinstance(node, Mapping) and loads_checkpoint(node) and dict(node) == dict(init_cfg):
            return path
    return None
