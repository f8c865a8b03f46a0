"""What is looked at before anything is built: the files of the data, and the order of its channels.

The Runner builds data sets after the model, and their own errors name neither the config's field nor the data's source.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmpretrain.datasets import CIFAR10, CustomDataset, ImageNet
from mmpretrain.registry import DATASETS, TRANSFORMS

from ..configs import find_class, find_preprocessor, is_a, type_name
from ..errors import MissingFileError, UnusableInputError
from ..models.classifiers.repfusion import RepFusion
from ..models.generators.ddpm_trainer import DDPMTrainer

LABELLED = re.compile(r'.*\S \d+')


class MissingDataError(MissingFileError):
    """Folders or files of a dataset config that do not exist."""


def check_data(config: Config | dict, splits: Sequence[str]) -> None:
    """Look for the folders and annotation files of every dataset, those inside wrappers too.

    Args:
        config: A config of any tree. Its ``data_source = dict(url=..., command=...)`` says where the data comes from.
        splits: Whose dataloaders to check: ``train``, ``val``, ``test``.

    Raises:
        MissingDataError: For a ``data_root``, ``ann_file`` or ``data_prefix`` that does not exist, or an empty folder.
        UnusableInputError: For a line of an annotation file of text that names no file, or no class, and for a link in
            a folder of images to one that it lies in.
    """
    missing: dict[str, Path] = {}
    for split in splits:
        dataloader = config.get(f'{split}_dataloader') or {}
        for field, dataset in walk_datasets(dataloader.get('dataset'), f'{split}_dataloader.dataset'):
            for name, path in _named_paths(dataset, field):
                known = any(parent in missing.values() for parent in path.parents)
                if not known and not _is_there(path):
                    missing[name] = path
        for field, dataset in walk_datasets(dataloader.get('dataset'), f'{split}_dataloader.dataset'):
            _check_list(dataset, field)
            _check_links(dataset, field)
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


def _check_list(dataset: Mapping, field: str) -> None:
    """Whether each line of an annotation file of text is one of its data set's."""
    if not isinstance(dataset.get('ann_file'), str):
        return
    path = Path(os.path.join(dataset.get('data_root') or '', dataset['ann_file']))
    if path.suffix != '.txt' or not path.is_file():
        return
    labelled = is_a(dataset, CustomDataset, DATASETS) and dataset.get('with_label', True)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or (labelled and not LABELLED.fullmatch(line.strip())):
            raise UnusableInputError(
                f'{field}.ann_file={dataset["ann_file"]!r}: line {number} of {path} is {line!r}, expected '
                f'{"the name of a file, a blank and the number of its class" if labelled else "a name"}.'
            )


def _check_links(dataset: Mapping, field: str) -> None:
    """Whether MMPretrain, which follows links, would come to the end of a folder that it lists."""
    if not is_a(dataset, CustomDataset, DATASETS) or dataset.get('ann_file'):
        return
    below = _paths_below_root(dataset)
    folder = os.path.join(dataset.get('data_root') or '', below.get('data_prefix') or below.get('split') or '')
    for root, directories, _ in os.walk(folder):
        for path in (Path(root, name) for name in directories):
            if path.is_symlink() and path.resolve() in Path(root, 'x').resolve().parents:
                raise UnusableInputError(
                    f'{field}: the link {path} leads to a folder that it lies in, which would be listed for ever. '
                    'Remove it, or list the images in an ann_file.'
                )


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
    preprocessor = find_preprocessor(config)
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
