"""The config of a classifier on a folder of images, as a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..configs import as_code, type_name
from .folder_config import TREE
from .labelled_images import LabelledImages
from .student import NormalizedStudent

CONFIG, SCRATCH, WEIGHTS, STUDENT = 'classifier.py', 'scratch.py', 'classifier.pth', 'student.pth'
LISTS = {'train': 'train.json', 'val': 'val.json'}


@dataclass
class Tuning:
    """How a classifier is trained.

    Attributes:
        out: Folder of the results.
        image_size: Side of the images in pixels.
        batch_size: Images of a step.
        iterations: Steps.
        rates: Learning rates to choose from.
        scratch: Whether scratch stands beside the student.
    """

    out: Path
    image_size: int
    batch_size: int
    iterations: int
    rates: list[float]
    scratch: bool


def config_text(
    tuning: Tuning,
    backbone: dict,
    student: NormalizedStudent,
    neck: Mapping | None,
    classes: list[str],
    splits: Mapping[str, LabelledImages],
) -> str:
    """The config as a person reads it.

    Args:
        tuning: How it is trained.
        backbone: Config of the backbone, with the ``init_cfg`` of its start.
        student: The student, for its channels and its images.
        neck: Config of the neck of the student's distillation.
        classes: Names of the classes.
        splits: Images of ``train`` and ``val``.
    """
    tokens = neck and type_name(neck) == 'TokenMaps'  # which has no weights; of others the averages do without
    pooling = {'type': 'GlobalAveragePooling'}
    head = {'type': 'LinearClsHead', 'num_classes': len(classes), 'in_channels': _channels(student, tuning.image_size)}
    size = tuning.image_size
    images = {
        name: f"dict(\n    type='BaseDataset', data_root={str(split.root)!r},\n"
        f'    ann_file={str(tuning.out / LISTS[name])!r}, pipeline=pipeline)'
        for name, split in splits.items()
    }
    rates = ', '.join(map(str, tuning.rates))
    mean, std = student.mean.flatten().tolist(), student.std.flatten().tolist()
    return f"""# Written by tools/classify.py, for the learning rates {rates}{' and scratch' if tuning.scratch else ''}.
# It trains again by, in {TREE}:
# bash tools/dist_train.sh {tuning.out / CONFIG} 1 --work-dir FOLDER --cfg-options optim_wrapper.optimizer.lr=RATE
_base_ = {str(TREE / 'configs/_base_/iter_runtime.py')!r}

model = dict(
    type='ImageClassifier',
    backbone={as_code(backbone)},
    neck={as_code([{'type': 'TokenMaps'}, pooling] if tokens else pooling)},
    head={as_code(head)})

# As the student saw its images when it was distilled.
data_preprocessor = dict(
    type='BatchPreprocessor',
    augments=[dict(type='BatchResizedCrop', scale=(0.35, 1.0)), dict(type='BatchFlip')],
    mean={mean},
    std={std},
    to_rgb={not student.is_bgr})

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale={size}, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size={size}),
    dict(type='PackInputs')]
train_images = {images['train']}
val_images = {images['val']}
decoded = {str(tuning.out / 'decoded')!r}
train_dataloader = dict(
    batch_size={tuning.batch_size},
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='whole_batch'),
    dataset=dict(type='ImagesInMemory', dataset=train_images, folder=decoded))
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='whole_batch'),
    dataset=dict(type='ImagesInMemory', dataset=val_images, folder=decoded))
val_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_dataloader = dict(
    batch_size=64, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=val_images)
test_cfg = dict()
test_evaluator = val_evaluator

train_cfg = dict(max_iters={tuning.iterations}, val_interval={tuning.iterations})
optim_wrapper = dict(optimizer=dict(type='AdamW', lr={tuning.rates[0]}, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end={tuning.iterations // 10}),
    dict(type='CosineAnnealingLR', by_epoch=False, begin={tuning.iterations // 10}, end={tuning.iterations}),
]
default_hooks = dict(checkpoint=dict(interval={max(1, tuning.iterations // 3)}, max_keep_ckpts=1))
"""


@torch.no_grad()
def _channels(student: nn.Module, size: int) -> int:
    return student.features(torch.zeros(1, 3, size, size)).shape[1]
