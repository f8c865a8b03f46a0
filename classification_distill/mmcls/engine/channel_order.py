"""Check, before anything is built, that a diffusion model gets its images' channels as RGB.

MMCV decodes files as BGR, MMPretrain's CIFAR is RGB, and a data preprocessor turns the order round where it is told
``to_rgb``. A diffusion model reads blue faces without complaint.
"""

from collections.abc import Mapping

from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.registry import Registry
from mmpretrain.datasets import CIFAR10
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS

from ..models import DDPMTrainer, RepFusion
from .data_check import walk_datasets


def check_channel_order(config: Config | dict) -> None:
    """Compare ``to_rgb`` with the data sets of a config whose model holds a diffusion model.

    Raises:
        ValueError: When a data set's images would reach the diffusion model as BGR.
    """
    if not _is(MODELS, config['model']['type'], (RepFusion, DDPMTrainer)):
        return
    preprocessor = config['model'].get('data_preprocessor') or config.get('data_preprocessor') or {}
    for split in ('train', 'val', 'test'):
        dataloader = config.get(f'{split}_dataloader') or {}
        for field, dataset in walk_datasets(dataloader.get('dataset'), f'{split}_dataloader.dataset'):
            order = channel_order(dataset)
            if order and turns_round(preprocessor) != (order == 'BGR'):
                raise ValueError(
                    f'The diffusion model would see red as blue: {field} ({dataset["type"]}) gives {order}, and '
                    f'data_preprocessor.to_rgb is {turns_round(preprocessor)}. Set it to {order == "BGR"}.'
                )


def channel_order(dataset: Mapping) -> str | None:
    """Order in which a dataset config's pipeline gives channels, ``'RGB'`` or ``'BGR'``; None where it is unknown."""
    pipeline = dataset.get('pipeline') or []
    if any(_is(TRANSFORMS, transform['type'], LoadImageFromFile) for transform in pipeline):
        order = 'BGR'
    elif _is(DATASETS, dataset.get('type'), CIFAR10):
        order = 'RGB'
    else:
        return None
    return order[::-1] if sum(map(turns_round, pipeline)) % 2 else order


def turns_round(settings: Mapping) -> bool:
    """Whether a transform or a data preprocessor of this config changes RGB to BGR, or BGR to RGB."""
    return any(settings.get(key) for key in ('to_rgb', 'to_bgr', 'bgr_to_rgb', 'rgb_to_bgr'))


def _is(registry: Registry, name: str | None, classes: type | tuple[type, ...]) -> bool:
    registered = registry.get(name) if name else None
    return isinstance(registered, type) and issubclass(registered, classes)
