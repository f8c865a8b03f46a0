"""The config of a distillation on a folder of images, as a file."""

from dataclasses import dataclass
from pathlib import Path

from ..configs import ROOT, as_code, load_config
from .folder_images import IMAGES, FolderImages
from .networks import Network

TREE = ROOT / 'classification_distill'
CONFIG = 'distill.py'
RECIPE = TREE / 'configs/_base_/recipes/middle_and_decoder.py'
WORK_DIR = 'distillation'
POLICIES = {
    'fixed': {'type': 'FixedPolicy'},
    'uniform': {'type': 'UniformPolicy'},
    # With the bonus kept, a reward that says nothing leaves it uniform.
    'reinforce': {'type': 'ReinforcePolicy', 'entropy_weight': 0.1, 'entropy_decay_until': None},
}
LOSSES = ('HintLoss', 'ATLoss', 'RKDLoss', 'InfoNCELoss')


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
        workers: Data workers of a process.
        val: Folder of labelled images on which the student is measured.
        fitted_batch_size: ``batch_size``, or all images where there are fewer.
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
    val: Path | None = None
    fitted_batch_size: int = 0


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
    return f"""# Written by tools/distill_folder.py. It trains again by, in {TREE}:
# bash tools/dist_train.sh {settings.out / CONFIG} {settings.gpus}
_base_ = {str(TREE / f'configs/_base_/{"policy" if learns else "default"}_runtime.py')!r}
work_dir = {str(settings.out / WORK_DIR)!r}
{source} = {teacher[source]!r}

model = dict(
    type='RepFusion',
    teacher={as_code(teacher).replace(f'{source}={teacher[source]!r}', f'{source}={source}')},
    backbone={as_code(student.backbone)},{neck}
    image_size={settings.image_size},
    timestep_policy={as_code(policy)},
    distill_loss={as_code(model['distill_loss'])},{task_head}
    standardizer={as_code(model['standardizer'])})

data_preprocessor = dict(mean={student.mean}, std={student.std}, to_rgb=True)
train_dataloader = dict(
    batch_size={settings.fitted_batch_size},  # {settings.batch_size}, or all images where there are fewer
    num_workers={settings.workers},
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='BaseDataset',
        data_root={str(settings.folder)!r},
        ann_file={str(settings.out / IMAGES)!r},
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale={settings.image_size}),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ]))

custom_hooks = {as_code([*map(dict, hooks), hook])}
train_cfg = dict(by_epoch=True, max_epochs={settings.epochs})
optim_wrapper = dict(optimizer=dict(type='AdamW', lr={settings.lr}, weight_decay=0.01))
param_scheduler = dict(type='CosineAnnealingLR', T_max={settings.epochs}, convert_to_iter_based=True)
randomness = dict(seed={settings.seed})
"""
