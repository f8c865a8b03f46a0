"""Check, before anything is built, that the data a config names is there.

The Runner builds data sets after the model, and their own errors name neither the config's field nor the data's source.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config
from mmpretrain.datasets import CIFAR10, ImageNet
from mmpretrain.registry import DATASETS

from ..configs import find_class, is_a


class MissingDataError(FileNotFoundError):
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
