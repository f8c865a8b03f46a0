"""The config of a distillation on a folder of images, as a file."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..configs import ROOT, as_code, load_config
from ..errors import UnusableInputError
from .folder_images import IMAGES, FolderImages
from .networks import Network

TREE = ROOT / 'classification_distill'
CONFIG = 'distill.py'
RECIPE = TREE / 'configs/_base_/recipes/middle_and_decoder.py'
WORK_DIR = 'distillation'
DECODED = 'decoded'
POLICIES = {
    'fixed': {'type': 'FixedPolicy'},
    'uniform': {'type': 'UniformPolicy'},
    # With the bonus kept, a reward that says nothing leaves it uniform.
    'reinforce': {'type': 'ReinforcePolicy', 'entropy_weight': 0.1, 'entropy_decay_until': None},
}
LOSSES = ('HintLoss', 'ATLoss', 'RKDLoss', 'InfoNCELoss')
MOST_HELD = 8.0  # GiB of decoded images; what takes more is decoded anew in each epoch


@dataclass
class Settings:
    """How a folder is distilled.

    Attributes:
        folder: Folder of the images.
        out: Folder of the results.
        recipe: Config of what is distilled.
        gpus: GPUs; without GPUs, processes.
        epochs: Length of the training.
        lr: Learning rate.
        seed: Of all that is drawn.
        image_size: Side of the student's images in pixels.
        batch_size: Images of a process.
        workers: Data workers of a process, where images are not held in memory.
        views: Fixed views of each image whose features are kept; None for views that are drawn anew.
        val: Folder of labelled images on which the student is measured.
        fitted_batch_size: ``batch_size``, or all images where there are fewer.
        held_side: Side in pixels of the images as they are held in memory; None where they are decoded anew.
    """

    folder: Path
    out: Path
    recipe: Path
    gpus: int
    epochs: int
    lr: float
    seed: int
    image_size: int | None
    batch_size: int
    workers: int
    views: int | None = None
    val: Path | None = None
    fitted_batch_size: int = 0
    held_side: int | None = None


def config_text(settings: Settings, model: dict, student: Network, images: FolderImages) -> str:
    """The config as a person reads it; ``model`` holds the teacher, the policy and the losses."""
    teacher, policy = model['teacher'], model['timestep_policy']
    learns = policy['type'] == 'ReinforcePolicy'
    head = {'type': 'ViewAgreementHead'}
    if images.classes:
        head = {'type': 'PooledMLPHead', 'num_classes': len(images.classes)}
    neck = f'\n    neck={as_code(student.neck)},' if student.neck else ''
    task_head = f'\n    task_head={as_code(head)},' if learns else ''
    hook = {'type': 'StudentAgreementHook', 'interval': max(1, settings.epochs // 10)}
    if settings.val:
        hook |= {'type': 'StudentQualityHook', 'folder': str(settings.val)}
    hooks = [*load_config(TREE / 'configs/_base_/policy_runtime.py').custom_hooks] if learns else []
    source = 'checkpoint' if 'checkpoint' in teacher else 'pretrained'
    cache = f'\n    feature_cache=dict(views={settings.views}),' if settings.views else ''
    data = _held_in_memory(settings) if settings.held_side else _decoded_anew(settings)
    return f"""# Written by tools/distill_folder.py. It trains again by, in {TREE}:
# bash tools/dist_train.sh {settings.out / CONFIG} {settings.gpus}
_base_ = {str(TREE / f'configs/_base_/{"policy" if learns else "default"}_runtime.py')!r}
work_dir = {str(settings.out / WORK_DIR)!r}
{source} = {teacher[source]!r}

model = dict(
    type='RepFusion',
    teacher={as_code(teacher).replace(f'{source}={teacher[source]!r}', f'{source}={source}')},
    backbone={as_code(student.backbone)},{neck}
    image_size={settings.image_size},{cache}
    timestep_policy={as_code(policy)},
    distill_loss={as_code(model['distill_loss'])},{task_head}
    standardizer={as_code(model['standardizer'])})

data_preprocessor = dict({data['augments']}mean={student.mean}, std={student.std}, to_rgb=True)
images = dict(
    type='BaseDataset',
    data_root={str(settings.folder)!r},
    ann_file={str(settings.out / IMAGES)!r},
    pipeline=[
        dict(type='LoadImageFromFile'),
        {data['pipeline']}
        dict(type='PackInputs'),
    ])
train_dataloader = dict(
    batch_size={settings.fitted_batch_size},  # {settings.batch_size}, or all images where there are fewer
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    {data['loading']})

custom_hooks = {as_code([*map(dict, hooks), hook])}
train_cfg = dict(by_epoch=True, max_epochs={settings.epochs})
optim_wrapper = dict(optimizer=dict(type='AdamW', lr={settings.lr}, weight_decay=0.01))
param_scheduler = dict(type='CosineAnnealingLR', T_max={settings.epochs}, convert_to_iter_based=True)
randomness = dict(seed={settings.seed})
"""


def choose_held_side(settings: Settings, images: FolderImages) -> int | None:
    """Side in pixels at which the images are held in memory; None where they would take too much of it, or of the disk.

    Large ones are held at twice the student's size, so that what is cut out of them is mostly no smaller than what the
    student sees. A training that was begun keeps its side, however many images came or went.

    Raises:
        UnusableInputError: When features shall be kept of images that cannot be held.
    """
    if (path := settings.out / CONFIG).is_file():
        dataset = Config.fromfile(path).train_dataloader.dataset
        return dataset.dataset.pipeline[1].scale if dataset.type == 'ImagesInMemory' else None
    size = settings.image_size
    room = min(MOST_HELD * 2**30, shutil.disk_usage(settings.out).free / 2)
    sides = (2 * size, size) if images.median_side >= 2 * size else (size,)
    held = next((side for side in sides if 3 * side**2 * images.count <= room), None)
    if settings.views and held is None:
        raise UnusableInputError(
            f'views={settings.views}: features are kept of images that are held in memory, and {images.count:,} of '
            f'{size} pixels take {3 * size**2 * images.count / 2**30:.1f} GiB, of which {room / 2**30:.1f} are at most '
            f'to be had ({MOST_HELD:g}, and half of what is free in {settings.out}). Leave views out.'
        )
    return held


def _held_in_memory(settings: Settings) -> dict[str, str]:
    """The parts of the config by which images are decoded once, and cropped by the batch."""
    size, side = settings.image_size, settings.held_side
    return {
        'augments': f"""
    type='BatchPreprocessor',
    augments=[dict(type='BatchResizedCrop', size={size}), dict(type='BatchFlip')],
    """,
        'pipeline': f"""dict(type='ResizeEdge', scale={side}, edge='short', backend='pillow'),
        dict(type='CenterCrop', crop_size={side}),""",
        'loading': f"""num_workers=0,
    collate_fn=dict(type='whole_batch'),
    dataset=dict(type='ImagesInMemory', dataset=images, folder={str(settings.out / DECODED)!r})""",
    }


def _decoded_anew(settings: Settings) -> dict[str, str]:
    """The same where they do not fit into memory: decoded and cropped one by one in each epoch."""
    return {
        'augments': '',
        'pipeline': f"""dict(type='RandomResizedCrop', scale={settings.image_size}),
        dict(type='RandomFlip', prob=0.5),""",
        'loading': f"""num_workers={settings.workers},
    dataset=images""",
    }
