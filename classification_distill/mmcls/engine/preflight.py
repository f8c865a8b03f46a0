"""What is looked at before long work begins: the data, the order of channels, the weights that models start from.

The Runner builds data sets after the model, and their own errors name neither the config's field nor the data's source.
MMEngine loads an ``init_cfg`` of type Pretrained with ``strict=False`` and only logs what does not fit: it is compared
before, and again after it happened.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmpretrain.datasets import CIFAR10, ImageNet
from mmpretrain.registry import DATASETS, HOOKS, TRANSFORMS
from torch import Tensor, nn

from ..configs import find_class, is_a, loads_checkpoint, type_name, walk
from ..errors import MissingFileError, UnusableInputError
from ..models.classifiers.repfusion import RepFusion
from ..models.generators.ddpm_trainer import DDPMTrainer
from ..weights import PretrainedWeightsError, compare, describe_prefixes, load_state_dict, unwrap
from .terminal import AT_TERMINAL


class MissingDataError(MissingFileError):
    """Folders or files of a dataset config that do not exist."""


def check_data(config: Config | dict, splits: Sequence[str]) -> None:
    """Look for the folders and annotation files of every dataset, those inside wrappers too.

    Args:
        config: A config of any tree. Its ``data_source = dict(url=..., command=...)`` says where the data comes from.
        splits: Whose dataloaders to check: ``train``, ``val``, ``test``.

    Raises:
        MissingDataError: For a ``data_root``, ``ann_file`` or ``data_prefix`` that does not exist, or an empty folder.
    """
    missing: dict[str, Path] = {}
    for split in splits:
        dataloader = config.get(f'{split}_dataloader') or {}
        for field, dataset in walk_datasets(dataloader.get('dataset'), f'{split}_dataloader.dataset'):
            for name, path in _named_paths(dataset, field):
                known = any(parent in missing.values() for parent in path.parents)
                if not known and not _is_there(path):
                    missing[name] = path
    if missing:
        lines = [f'{field} is not there: {path}' for field, path in missing.items()]
        raise MissingDataError('\n'.join(['A data set is missing or empty.', *lines, _advice(config)]))


def walk_datasets(dataset: Mapping | Sequence | None, field: str) -> Iterator[tuple[str, Mapping]]:
    """Every dataset config in one, as ``(field, config)``: itself, and what wrappers such as RepeatDataset hold."""
    if isinstance(dataset, list | tuple):
        for index, part in enumerate(dataset):
            yield from walk_datasets(part, f'{field}[{index}]')
    elif isinstance(dataset, Mapping):
        for key in ('dataset', 'datasets'):
            yield from walk_datasets(dataset.get(key), f'{field}.{key}')
        yield field, dataset


def _named_paths(dataset: Mapping, field: str) -> Iterator[tuple[str, Path]]:
    """Every path that a dataset config names, as ``(field=value, resolved path)``, ``data_root`` first."""
    root = dataset.get('data_root') or ''
    if root:
        is_cifar = is_a(dataset, CIFAR10, DATASETS)  # or CIFAR100, which is derived from it
        below = find_class(field, dataset, DATASETS).base_folder if is_cifar else ''
        yield f'{field}.data_root={root!r}', Path(root, below).resolve()
    for key, value in _paths_below_root(dataset).items():
        yield f'{field}.{key}={value!r}', Path(os.path.join(root, value)).resolve()


def _paths_below_root(dataset: Mapping) -> dict[str, str]:
    prefix = dataset.get('data_prefix') or ''
    prefixes = prefix if isinstance(prefix, Mapping) else {None: prefix}
    paths = {f'data_prefix.{key}' if key else 'data_prefix': value for key, value in prefixes.items()}
    paths['ann_file'] = dataset.get('ann_file')
    if is_a(dataset, ImageNet, DATASETS) and not prefix:
        paths['split'] = dataset.get('split')  # is the folder's name
    return {key: value for key, value in paths.items() if value and isinstance(value, str)}


def _is_there(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _advice(config: Mapping) -> str:
    source = config.get('data_source')
    if not source:
        return 'Check the paths in the config.'
    where = f'Get it from {source["url"]} and prepare it' if 'url' in source else 'Prepare it'
    return f'{where}, in the repository: {source["command"]}'


def check_channel_order(config: Config | dict) -> None:
    """Compare ``to_rgb`` with the data sets of a config whose model holds a diffusion model.

    Raises:
        ValueError: When a data set's images would reach the diffusion model as BGR.
    """
    if not is_a(config['model'], (RepFusion, DDPMTrainer)):
        return
    preprocessor = config['model'].get('data_preprocessor') or config.get('data_preprocessor') or {}
    for split in ('train', 'val', 'test'):
        dataloader = config.get(f'{split}_dataloader') or {}
        for field, dataset in walk_datasets(dataloader.get('dataset'), f'{split}_dataloader.dataset'):
            order = channel_order(dataset)
            if order and swaps_channels(preprocessor) != (order == 'BGR'):
                raise UnusableInputError(
                    f'The diffusion model would see red as blue: {field} ({type_name(dataset)}) gives {order}, and '
                    f'data_preprocessor.to_rgb is {swaps_channels(preprocessor)}. Set it to {order == "BGR"}.'
                )


def channel_order(dataset: Mapping) -> str | None:
    """Order in which a dataset config's pipeline gives channels, ``'RGB'`` or ``'BGR'``; None where it is unknown."""
    pipeline = dataset.get('pipeline') or []
    if any(is_a(transform, LoadImageFromFile, TRANSFORMS) for transform in pipeline):
        order = 'BGR'
    elif is_a(dataset, CIFAR10, DATASETS):
        order = 'RGB'
    else:
        return None
    return order[::-1] if sum(map(swaps_channels, pipeline)) % 2 else order


def swaps_channels(settings: Mapping) -> bool:
    """Whether a transform or a data preprocessor of this config changes RGB to BGR, or BGR to RGB."""
    return any(settings.get(key) for key in ('to_rgb', 'to_bgr', 'bgr_to_rgb', 'rgb_to_bgr'))


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
