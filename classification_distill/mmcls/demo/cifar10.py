"""The demo on CIFAR-10: real images of which few have labels, and what else one could start from.

All starts see the same unlabelled images: SimCLR and BYOL, for no less time than a distillation with the features that
it reads; students of the diffusion model, by the paper's settings and by the recipe.
"""

import hashlib
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from ..apis.jobs import Job
from ..configs import ROOT
from .comparison import SCRATCH, Comparison

WORK_DIR = ROOT / 'work_dirs' / 'demo' / 'cifar10'
DATA_SCRIPT = 'cifar10_few_labels.py'
FINETUNE = 'configs/baseline/r18_b64_cifar10few_finetune'
HINT = 'configs/cifar10few-hint/ddpm-r18_hint'
SELFSUP = 'configs/selfsup'
# Learning rates of fine-tuning to choose from, for each start and number of labels. Networks that start with each
# residual branch at zero, as MMPretrain's do, want higher ones than torch's.
RATES = (0.01, 0.03, 0.08, 0.2, 0.4, 0.8)
NUM_SEEDS = 5
GRID = '[0,60,200,500]'  # timesteps that REINFORCE chooses among, so that what it chose can be kept
RECIPE = 'RepFusion, recipe'


@dataclass(frozen=True)
class Size:
    """How large the experiment is.

    Attributes:
        channels: Of the ResNet-18's first stage.
        unlabelled: Images that distillation and self-supervised learning see.
        label_counts: Numbers of labels with which all starts are fine-tuned; with all of ``unlabelled``, some are.
        epochs: Of a distillation.
        views: Fixed views of each image whose features are kept.
        simclr_epochs: Of SimCLR, which should take no less time than a distillation.
        byol_epochs: Of BYOL, likewise.
        iterations: Of a fine-tuning.
        validation: List of the images that choose.
    """

    channels: int
    unlabelled: int
    label_counts: tuple[int, ...]
    epochs: int
    views: int
    simclr_epochs: int
    byol_epochs: int
    iterations: int
    validation: str


CPU = Size(16, 4000, (250, 1000), 20, 2, 30, 22, 300, 'val_1000')
GPU = Size(64, 45000, (250, 1000, 4000), 30, 4, 60, 50, 2000, 'val')


@dataclass(frozen=True)
class Start:
    """What trains a student before it is fine-tuned.

    Attributes:
        config: Its config, without ``.py``.
        options: ``--cfg-options``.
        epochs: Its length.
        with_all_labels: Whether it is fine-tuned with all labels, too.
        features: Whose kept features it shares, as it reads the same of the diffusion model; its own by default.
    """

    config: str
    options: dict
    epochs: int
    with_all_labels: bool = False
    features: str = ''


@dataclass(frozen=True)
class Part:
    """The experiment.

    Attributes:
        size: By default the one that suits this machine.
        teacher: The diffusion model.
    """

    size: Size | None = None
    teacher: str = 'google/ddpm-cifar10-32'


def starts(size: Size) -> dict[str, Start]:
    """All but scratch, by name."""
    grid = {'model.timestep_policy.timesteps': GRID}
    return {
        'SimCLR': Start(f'{SELFSUP}/simclr-r18_cifar10few', {}, size.simclr_epochs),
        'BYOL': Start(f'{SELFSUP}/byol-r18_cifar10few', {}, size.byol_epochs),
        "RepFusion, the paper's settings (REINFORCE)": Start(HINT, grid, size.epochs),
        RECIPE: Start(f'{HINT}_recipe', {}, size.epochs, with_all_labels=True),
        'RepFusion, recipe, uniform t': Start(f'{HINT}_recipe_uniform', {}, size.epochs),
        'RepFusion, recipe, REINFORCE': Start(f'{HINT}_recipe_reinforce', grid, size.epochs),
    }


def plan(part: Part) -> list[Comparison]:
    """All fine-tunings; what they build on is in their ``needs``."""
    size = part.size or (GPU if torch.cuda.is_available() else CPU)
    jobs = {}
    for labels, rate, seed in product((*size.label_counts, size.unlabelled), RATES, range(NUM_SEEDS)):
        for name, options in SCRATCH.items():
            jobs[name, labels, rate, seed] = finetuning(size, name, labels, rate, seed, None, options)
        for name, start in starts(size).items():
            if labels < size.unlabelled or start.with_all_labels:
                student = pretraining(size, name, start, seed, part.teacher)
                jobs[name, labels, rate, seed] = finetuning(size, name, labels, rate, seed, student, {})
    return [Comparison('accuracy, %', 'accuracy/top1', jobs, f'iter_{size.iterations}.pth', highlighted=RECIPE)]


def pretraining(size: Size, name: str, start: Start, seed: int, teacher: str, variant: str = '') -> Job:
    """A start's training; of a ``variant`` of its config in folders of its own."""
    folder = '_'.join(filter(None, [Path(start.config).name, variant]))
    options = _network(size) | {
        'train_dataloader.dataset.dataset.ann_file': f'meta/train_{size.unlabelled}_0.txt',
        'train_cfg.max_epochs': start.epochs,
        'param_scheduler.T_max': start.epochs,
        'randomness.seed': seed,
    }
    if start.config.startswith(SELFSUP):
        options['model.neck.in_channels'] = 8 * size.channels
    else:
        precision = {'model.teacher.dtype': 'bfloat16'} if has_bfloat16() else {}
        origin = f'of_{hashlib.sha256(teacher.encode()).hexdigest()[:8]}'
        kept = '_'.join([start.features or folder, origin, str(size.unlabelled), *precision.values()])
        folder = f'{folder}_{origin}'
        options |= {
            'model.teacher.pretrained': teacher,
            'model.feature_cache.views': size.views,
            # All seeds read the same views, so that each is computed once.
            'model.feature_cache.folder': f'{WORK_DIR}/features/{kept}',
        } | start.options
        options |= precision
    work_dir = WORK_DIR / 'students' / f'{folder}_{size.channels}channels_seed{seed}'
    return Job(f'{name}, seed {seed}', f'{start.config}.py', work_dir, options)


def finetuning(size: Size, name: str, labels: int, rate: float, seed: int, student: Job | None, options: dict) -> Job:
    """A training with few labels, from a student or, with ``options`` of its initialisation, from scratch."""
    options = (
        options
        | _network(size)
        | {
            'model.head.in_channels': 8 * size.channels,
            'train_dataloader.dataset.dataset.ann_file': f'meta/train_{labels}_{seed}.txt',
            'val_dataloader.dataset.dataset.ann_file': f'meta/{size.validation}.txt',
            'train_cfg.max_iters': size.iterations,
            'train_cfg.val_interval': size.iterations,
            'param_scheduler.1.end': size.iterations,
            'optim_wrapper.optimizer.lr': rate,
            'randomness.seed': seed,
        }
    )
    config, origin, needs = FINETUNE, 'scratch', ()
    if 'model.backbone.init_cfg' in options:
        origin = 'scratch_torch'
    elif student is not None:
        config, origin, needs = f'{FINETUNE}_repfusion', f'from_{student.work_dir.name}', (student,)
        checkpoint = student.work_dir / f'epoch_{student.options["train_cfg.max_epochs"]}.pth'
        prefix = 'backbone.' if student.config.startswith(SELFSUP) else 'student.backbone.'
        options |= {'model.backbone.init_cfg.checkpoint': checkpoint, 'model.backbone.init_cfg.prefix': prefix}
    settings = f'{size.channels}channels_{labels}labels_lr{rate:g}_{size.validation}_seed{seed}'
    work_dir = WORK_DIR / 'finetune' / f'{origin}_{settings}'
    title = f'fine-tune, {name}, {labels:,} labels, lr {rate:g}, seed {seed}'
    return Job(title, f'{config}.py', work_dir, options, needs, logs='accuracy/top1')


def _network(size: Size) -> dict:
    """The student's width, and the precision in which it is trained."""
    options = {'model.backbone.base_channels': size.channels, 'model.backbone.stem_channels': size.channels}
    return options | ({'optim_wrapper.type': 'Bfloat16OptimWrapper'} if has_bfloat16() else {})


def has_bfloat16() -> bool:
    """Whether this machine computes in bfloat16 faster than in float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, 'get_capabilities', dict)()  # older torch does not tell
    return bool(capabilities.get('amx_bf16'))
