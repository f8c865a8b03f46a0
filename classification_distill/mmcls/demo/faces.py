"""The demo on drawn faces: students of a small DPM in a face parser and in a landmark model."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..apis.jobs import Job
from ..configs import ROOT
from .comparison import Comparison

WORK_DIR = ROOT / 'work_dirs' / 'demo' / 'faces'
DATA_SCRIPT = 'demo_faces.py'
NUM_TRAIN = 1000
NUM_LABELLED = 900  # of them; landmarks are chosen for by the others, as WFLW has no validation faces
SIMCLR_CONFIG = 'configs/selfsup/simclr-r18_demofaces.py'
_WFLW_TRAIN = 'annotations/face_landmarks_wflw_train.json'
SIMCLR, UNIFORM, CHOSEN = 'SimCLR', 'uniform t', 'REINFORCE'


def _as_option(indices: Iterable[int]) -> str:
    return str(list(indices)).replace(' ', '')


@dataclass(frozen=True)
class Task:
    """A downstream task.

    Attributes:
        name: What it is called in tables.
        metric: Key of its metric in the logs.
        factor: From the metric to the unit in ``name``.
        higher_is_better: Whether a higher metric is better.
        tree: The tree of its configs.
        config: Its config, but for ``_baseline.py`` and ``_repfusion.py``.
        init_cfg: Where that config names the student.
        distillations: Start -> config that distils the student of this task.
        torch: ``--cfg-options`` that leave torch's own initialisation.
        validation: ``--cfg-options`` that name the validation faces, where the config has none.
        rates: Learning rates to choose from, for each start and number of labels.
        iterations: Length of its training, as in its config.
    """

    name: str
    metric: str
    factor: float
    higher_is_better: bool
    tree: str
    config: str
    init_cfg: str
    distillations: dict[str, str]
    torch: dict
    validation: dict
    rates: tuple[float, ...]
    iterations: int


PARSING = Task(
    name='face parsing, mIoU, %',
    metric='mIoU',
    factor=1,
    higher_is_better=True,
    tree='segmentation',
    config='configs/demo_faces/bisenetv1_r18_128x128_demofaces',
    init_cfg='model.backbone.backbone_cfg.init_cfg',
    distillations={UNIFORM: 'ddpm-r18_hint', CHOSEN: 'ddpm-r18_hint_parsing'},
    torch={'model.backbone.backbone_cfg.init_cfg': '[]'},  # for None ResNet has a default
    validation={},
    rates=(5e-3, 1e-2, 2e-2, 4e-2),
    iterations=800,
)
LANDMARKS = Task(
    name='landmarks, NME, %',
    metric='NME',
    factor=100,
    higher_is_better=False,
    tree='landmark',
    config='configs/demo_faces/res18_128x128_demofaces',
    init_cfg='model.backbone.init_cfg',
    distillations={UNIFORM: 'ddpm-r18_hint', CHOSEN: 'ddpm-r18_hint_landmarks'},
    torch={'model.backbone.init_cfg': '[]', 'model.backbone.zero_init_residual': False},
    validation={
        'val_dataloader.dataset.ann_file': _WFLW_TRAIN,
        'val_dataloader.dataset.indices': _as_option(range(NUM_LABELLED, NUM_TRAIN)),
        'val_evaluator.ann_file': _WFLW_TRAIN,
    },
    rates=(1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
    iterations=600,
)


SCRATCH, TORCH = "scratch, the library's initialisation", "scratch, torch's initialisation"


@dataclass(frozen=True)
class Part:
    """What one part of the demo compares with training from scratch.

    Attributes:
        starts: Ways to start.
        label_counts: Numbers of annotated faces to train with.
        num_seeds: Seeds of everything but the DPM.
    """

    starts: tuple[str, ...]
    label_counts: tuple[int, ...]
    num_seeds: int = 5


QUICK = Part((SIMCLR, UNIFORM), (20,))
FULL = Part((SIMCLR, UNIFORM, CHOSEN), (10, 20, 50, 100, NUM_LABELLED))


def plan(part: Part) -> list[Comparison]:
    """All downstream runs of both tasks; what they build on is in their ``needs``."""
    comparisons = []
    for task in (PARSING, LANDMARKS):
        keys = product((SCRATCH, TORCH, *part.starts), part.label_counts, task.rates, range(part.num_seeds))
        jobs = {key: _downstream(task, *key) for key in keys}
        last = f'iter_{task.iterations}.pth'
        comparisons.append(Comparison(task.name, task.metric, jobs, last, task.factor, task.higher_is_better))
    return comparisons


def _pretraining(task: Task, start: str, seed: int) -> Job:
    if start == SIMCLR:
        work_dir = WORK_DIR / f'simclr_seed{seed}'
        return Job(f'SimCLR, seed {seed}', SIMCLR_CONFIG, work_dir, {'randomness.seed': seed})
    name = task.distillations[start]
    teacher = Job('DPM on faces', 'configs/teacher/ddpm_demofaces.py', WORK_DIR / 'teacher')
    options = {'model.teacher.pretrained': teacher.work_dir / 'pipeline', 'randomness.seed': seed}
    work_dir = WORK_DIR / 'distill' / f'{name}_seed{seed}'
    return Job(f'distil, {name}, seed {seed}', f'configs/demofaces-hint/{name}.py', work_dir, options, (teacher,))


def _downstream(task: Task, start: str, labels: int, rate: float, seed: int) -> Job:
    chosen = np.random.default_rng(seed).choice(NUM_LABELLED, labels, replace=False)
    options = task.validation | {
        'train_dataloader.dataset.indices': _as_option(chosen.tolist()),
        'optim_wrapper.optimizer.lr': rate,
        'randomness.seed': seed,
    }
    origin, needs, config = 'scratch', (), f'{task.config}_baseline.py'
    if start == TORCH:
        origin, options = 'scratch_torch', options | task.torch
    elif start != SCRATCH:
        needs, config = (_pretraining(task, start, seed),), f'{task.config}_repfusion.py'
        origin, last = needs[0].work_dir.name, 'iter_1000.pth'
        if start == SIMCLR:
            last, options[f'{task.init_cfg}.prefix'] = 'epoch_20.pth', 'backbone.'
        options[f'{task.init_cfg}.checkpoint'] = needs[0].work_dir / last
    work_dir = WORK_DIR / task.tree / f'{origin}_{labels}labels_lr{rate:g}_seed{seed}'
    name = f'{task.name.partition(",")[0]}, {start}, {labels} labels, lr {rate:g}, seed {seed}'
    return Job(name, config, work_dir, options, needs, task.tree, task.metric)
