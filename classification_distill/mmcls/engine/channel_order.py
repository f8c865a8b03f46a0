"""Check, before anything is built, that a diffusion model gets its images' channels as RGB.

MMCV decodes files as BGR, MMPretrain's CIFAR is RGB, and a data preprocessor turns the order round where it is told
``to_rgb``. A diffusion model reads blue faces without complaint.
"""

from collections.abc import Mapping

from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmpretrain.datasets import CIFAR10
from mmpretrain.registry import DATASETS, TRANSFORMS

from ..configs import is_a, type_name
from ..models import DDPMTrainer, RepFusion
from .data_check import walk_datasets


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
            if order and turns_round(preprocessor) != (order == 'BGR'):
                raise ValueError(
                    f'The diffusion model would see red as blue: {field} ({type_name(dataset)}) gives {order}, and '
                    f'data_preprocessor.to_rgb is {turns_round(preprocessor)}. Set it to {order == "BGR"}.'
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
    return order[::-1] if sum(map(turns_round, pipeline)) % 2 else order


def turns_round(settings: Mapping) -> bool:
    """Whether a transform or a data preprocessor of this config changes RGB to BGR, or BGR to RGB."""
    return any(settings.get(key) for key in ('to_rgb', 'to_bgr', 'bgr_to_rgb', 'rgb_to_bgr'))
