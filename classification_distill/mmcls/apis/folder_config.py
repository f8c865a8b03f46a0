"""The config of a distillation on a folder of images: from names of a teacher and a student to a file."""

import difflib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from mmpretrain.apis import ModelHub, list_models
from mmpretrain.registry import MODELS

from ..configs import ROOT, as_code, find_class
from ..engine.preflight import channel_order, swaps_channels
from ..errors import UnusableInputError
from .folder_images import CLASSES, IMAGES, FolderImages

TREE = ROOT / 'classification_distill'
CONFIG = 'distill.py'
WORK_DIR = 'distillation'
# What makes a backbone of MMPretrain return maps, for those whose constructor knows it.
GIVES_MAPS = {'gap_before_final_norm': False, 'out_type': 'featmap'}
IMAGENET = {'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375]}


@dataclass
class Network:
    """A student by name.

    Attributes:
        backbone: Config of the backbone.
        mean: Mean of its images' pixels, RGB, as its library normalises them.
        std: Their deviation.
    """

    backbone: dict
    mean: list[float]
    std: list[float]


def describe_student(name: str, maps: int) -> Network:
    """Backbone of a model of timm or MMPretrain, without trained weights.

    Args:
        name: As ``timm.list_models()`` or ``mmpretrain.list_models()`` has it.
        maps: Number of feature maps that it is to give, the last ones.

    Raises:
        ValueError: When there is no such model, or it has no backbone.
    """
    if timm.is_model(name):
        several = {'features_only': True, 'out_indices': list(range(-maps, 0))} if maps > 1 else {}
        values = timm.get_pretrained_cfg(name)
        mean, std = ([round(255 * value, 3) for value in each] for each in (values.mean, values.std))
        return Network({'type': 'TIMMBackbone', 'model_name': name} | several, mean, std)
    names = list_models()
    if name not in names:
        near = difflib.get_close_matches(name, [*timm.list_models(), *names], n=5, cutoff=0.4)
        raise UnusableInputError(
            f'--student {name}: neither timm nor MMPretrain has such a model. Near ones: {", ".join(near)}. All are in '
            'timm.list_models() and mmpretrain.list_models().'
        )
    config = ModelHub.get(name).config
    if config is None or 'backbone' not in config.get('model', {}):
        raise UnusableInputError(
            f'--student {name}: it has no backbone. Choose a classifier, such as resnet50_8xb32_in1k.'
        )
    backbone = config.model.backbone.to_dict()
    for key in ('frozen_stages', 'num_classes'):  # for probes, and for backbones that end in a classifier
        backbone.pop(key, None)
    if 'checkpoint' in (backbone.get('init_cfg') or {}):
        backbone.pop('init_cfg')
    preprocessor = IMAGENET | (config.get('data_preprocessor') or {})
    is_bgr = channel_order(config.get('train_dataloader', {}).get('dataset', {})) == 'BGR'
    order = -1 if is_bgr and not swaps_channels(preprocessor) else 1
    mean, std = (list(preprocessor[key])[::order] for key in ('mean', 'std'))
    return Network(_give_maps(backbone, maps), mean, std)


def check_student(name: str, student: Network, maps: int, sizes: Iterable[int]) -> None:
    """Run the untrained student on blank images of each of ``sizes``.

    Raises:
        ValueError: When it cannot take them, or does not give ``maps`` feature maps.
    """
    backbone = MODELS.build(student.backbone)
    backbone.eval()
    advice = 'Choose a convolutional network, or a vision transformer of MMPretrain.'
    for size in sizes:
        try:
            with torch.no_grad():
                shapes = [tuple(feature.shape) for feature in backbone(torch.zeros(1, 3, size, size))]
        except (AssertionError, RuntimeError, ValueError) as error:
            raise UnusableInputError(
                f'--student {name} cannot take images of {size}x{size} pixels: {error} {advice}'
            ) from error
        if len(shapes) != maps or any(len(shape) != 4 for shape in shapes):
            raise UnusableInputError(
                f'--student {name} gives features of shape {shapes}, expected {maps} maps (N, C, h, w), one for each '
                f'of --layers. {advice}'
            )


def _give_maps(backbone: dict, maps: int) -> dict:
    """The backbone's config with as many feature maps as asked for, where its constructor has a say in that."""
    parameters = {
        name: parameter.default
        for parent in reversed(find_class('backbone', backbone).__mro__)
        for name, parameter in inspect.signature(parent.__init__).parameters.items()
    }
    settings = backbone | {key: value for key, value in GIVES_MAPS.items() if key in parameters}
    if maps > 1 and 'out_indices' in parameters:
        given = settings.get('out_indices', parameters['out_indices'])
        last = given if isinstance(given, int) else max(given)
        settings['out_indices'] = list(range(last - maps + 1, last + 1))
    return settings


@dataclass
class Settings:
    """How a folder is distilled.

    Attributes:
        folder: Folder of the images.
        out: Folder of the results.
        policy: ``'uniform'`` or ``'reinforce'``.
        gpus: GPUs; without GPUs, processes.
        epochs: Length of the training.
        image_size: Side of the student's images in pixels.
        batch_size: Images of a process.
        workers: Data workers of a process.
    """

    folder: Path
    out: Path
    policy: str
    gpus: int
    epochs: int
    image_size: int
    batch_size: int
    workers: int


def config_text(settings: Settings, teacher: dict, student: Network, images: FolderImages) -> str:
    """The config as a person reads it."""
    learns = settings.policy == 'reinforce'
    policy = {'type': 'UniformPolicy'}
    if learns:  # with the bonus kept, a reward that says nothing leaves it uniform
        policy = {'type': 'ReinforcePolicy', 'entropy_weight': 0.1, 'entropy_decay_until': None}
    head = {'type': 'ViewAgreementHead'}
    if images.classes:
        head = {'type': 'PooledMLPHead', 'num_classes': len(images.classes)}
    task_head = f'\n    task_head={as_code(head)},' if learns else ''
    labels = f'classes={str(settings.out / CLASSES)!r}' if images.classes else 'with_label=False'
    source = 'checkpoint' if 'checkpoint' in teacher else 'pretrained'
    return f"""# Written by tools/distill_folder.py. It trains again by, in {TREE}:
# bash tools/dist_train.sh {settings.out / CONFIG} {settings.gpus}
_base_ = {str(TREE / 'configs/_base_/policy_runtime.py')!r}
work_dir = {str(settings.out / WORK_DIR)!r}
{source} = {teacher[source]!r}

model = dict(
    type='RepFusion',
    teacher={as_code(teacher).replace(f'{source}={teacher[source]!r}', f'{source}={source}')},
    backbone={as_code(student.backbone)},
    timestep_policy={as_code(policy)},
    distill_loss=dict(type='HintLoss', loss_weight=1.0),{task_head}
    standardizer=dict(num_bins=20))

data_preprocessor = dict(mean={student.mean}, std={student.std}, to_rgb=True)
train_dataloader = dict(
    batch_size={settings.batch_size},
    num_workers={settings.workers},
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset',
        data_root={str(settings.folder)!r},
        ann_file={str(settings.out / IMAGES)!r},
        {labels},
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale={settings.image_size}),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ]))

train_cfg = dict(by_epoch=True, max_epochs={settings.epochs})
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01))
param_scheduler = dict(type='CosineAnnealingLR', T_max={settings.epochs}, convert_to_iter_based=True)
"""
