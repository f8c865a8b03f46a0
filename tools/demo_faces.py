"""The demo on drawn faces: students of a small DPM in a face parser and in a landmark model."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from demo_report import Comparison
from jobs import Job
from prepare_data import demo_faces

WORK_DIR = Path(__file__).resolve().parents[1] / 'work_dirs' / 'demo' / 'faces'
NUM_TRAIN, NUM_TEST, SIZE = 1000, 200, 128
UNIFORM, CHOSEN = 'uniform t', 'REINFORCE'


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
    """

    name: str
    metric: str
    factor: float
    higher_is_better: bool
    tree: str
    config: str
    init_cfg: str
    distillations: dict[str, str]


PARSING = Task(
    name='face parsing, mIoU, %',
    metric='mIoU',
    factor=1,
    higher_is_better=True,
    tree='segmentation',
    config='configs/demo_faces/bisenetv1_r18_128x128_demofaces',
    init_cfg='model.backbone.backbone_cfg.init_cfg',
    distillations={UNIFORM: 'ddpm-r18_hint', CHOSEN: 'ddpm-r18_hint_parsing'},
)
LANDMARKS = Task(
    name='landmarks, NME, %',
    metric='NME',
    factor=100,
    higher_is_better=False,
    tree='landmark',
    config='configs/demo_faces/hrnet_128x128_demofaces',
    init_cfg='model.backbone.init_cfg',
    distillations={UNIFORM: 'ddpm-hrnet_hint', CHOSEN: 'ddpm-hrnet_hint_landmarks'},
)


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
    num_seeds: int


QUICK = Part((UNIFORM,), (20,), 1)
FULL = Part((UNIFORM, CHOSEN), (20, 100, NUM_TRAIN), 3)


def prepare_data() -> None:
    """Draw the faces, if they are not there."""
    demo_faces.write_faces(demo_faces.FOLDER, NUM_TRAIN, NUM_TEST, SIZE, seed=0)
    demo_faces.prepare(demo_faces.FOLDER)


def plan(part: Part) -> list[Comparison]:
    """All downstream runs of both tasks; what they build on is in their ``needs``."""
    comparisons = []
    for task in (PARSING, LANDMARKS):
        keys = product(['scratch', *part.starts], part.label_counts, range(part.num_seeds))
        jobs = {key: _downstream(task, *key) for key in keys}
        comparisons.append(Comparison(task.name, task.metric, jobs, task.factor, task.higher_is_better))
    return comparisons


def _distillation(task: Task, start: str, seed: int) -> Job:
    name = task.distillations[start]
    teacher = Job('DPM on faces', 'configs/teacher/ddpm_demofaces.py', WORK_DIR / 'teacher')
    options = {'model.teacher.pretrained': teacher.work_dir / 'pipeline', 'randomness.seed': seed}
    work_dir = WORK_DIR / 'distill' / f'{name}_seed{seed}'
    return Job(f'distil, {name}, seed {seed}', f'configs/demofaces-hint/{name}.py', work_dir, options, (teacher,))


def _downstream(task: Task, start: str, labels: int, seed: int) -> Job:
    options = {'randomness.seed': seed}
    if labels < NUM_TRAIN:
        chosen = np.random.default_rng(seed).choice(NUM_TRAIN, labels, replace=False)
        options['train_dataloader.dataset.indices'] = str(chosen.tolist()).replace(' ', '')
    needs, config = (), f'{task.config}_baseline.py'
    if start != 'scratch':
        needs, config = (_distillation(task, start, seed),), f'{task.config}_repfusion.py'
        options[f'{task.init_cfg}.checkpoint'] = needs[0].work_dir / 'iter_600.pth'
    origin = needs[0].config if needs else 'scratch'
    work_dir = WORK_DIR / task.tree / f'{Path(origin).stem}_{labels}labels_seed{seed}'
    name = f'{task.name.partition(",")[0]}, {start}, {labels} labels, seed {seed}'
    return Job(name, config, work_dir, options, needs, task.tree)
