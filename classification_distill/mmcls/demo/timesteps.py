"""Whether images differ in the timestep at which a diffusion model is best read, on CIFAR-10.

An oracle that is told the classes chooses a timestep for each image: by one reading, to be judged by another one, with
other noise. It gains where images differ, and by choosing among classifiers that err apart; how much by the latter
alone, an oracle tells that chooses among as many classifiers of one timestep, each of other labelled images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..apis.probe import DEVICE
from ..apis.teacher import load_teacher
from ..engine.representation import linear_classifier
from ..models.teachers import BaseTeacher
from ..progress import ProgressBar
from . import cifar10
from .linear import Splits, teacher_features
from .report import write_rows

DATA_SCRIPT = cifar10.DATA_SCRIPT
LAYER = 'up_blocks.1.resnets.1'  # where a linear classifier reads google/ddpm-cifar10-32 best: see linear.py
TIMESTEPS = (0, 20, 60, 120, 250)
LABELS = 1000


@dataclass
class Reading:
    """A linear classifier of the features at one timestep, and what it says of each validation image.

    Attributes:
        t: The timestep.
        seed: Of the labelled images and of the noise.
        likelihood: What it gives the class of each image, by which an oracle chooses, ``(N,)``.
        right: Whether it is right of each image, read once more with other noise, ``(N,)``.
    """

    t: int
    seed: int
    likelihood: np.ndarray
    right: np.ndarray


def study(part: cifar10.Part) -> Iterator[str]:
    """Read the validation images of a comparison of starts.

    Yields:
        str: The table, and where the raw rows are.
    """
    (comparison,) = cifar10.plan(part)
    splits = Splits(comparison)
    dtype = 'bfloat16' if cifar10.has_bfloat16() else 'float32'
    teacher = load_teacher(part.teacher, [LAYER], noise='forward', dtype=dtype).to(DEVICE)
    count = len(TIMESTEPS)
    total = (2 * count - 1) * (LABELS + 2 * len(splits.val))
    with ProgressBar(total=total, desc='diffusion model', unit='image') as bar:
        of_timesteps = [_read(teacher, splits, t, 0, bar) for t in TIMESTEPS]
        best = max(of_timesteps, key=lambda reading: reading.likelihood.mean())
        of_seeds = [best, *(_read(teacher, splits, best.t, seed, bar) for seed in range(1, count))]
    path = cifar10.WORK_DIR / 'rows_timesteps.csv'
    readings = of_timesteps + of_seeds[1:]
    header = [f'{what}, t={r.t}, seed {r.seed}' for r in readings for what in ('likelihood', 'right')]
    columns = [column for r in readings for column in ([f'{value:.3f}' for value in r.likelihood], r.right.astype(int))]
    write_rows(path, header, zip(*columns, strict=True))
    yield f'{describe(best, of_timesteps, of_seeds)}\n\nRows: {path}'


def _read(teacher: BaseTeacher, splits: Splits, t: int, seed: int, bar: ProgressBar) -> Reading:
    labelled = splits.labelled[LABELS, seed]
    train, first, second = (
        teacher_features(teacher, splits, positions, t, bar, seed=1000 * (3 * seed + index) + t).numpy()
        for index, positions in enumerate((labelled, splits.val, splits.val))
    )
    truth = splits.labels[splits.val].numpy()
    model = linear_classifier().fit(train, splits.labels[labelled].numpy())
    likelihood = model.predict_proba(first)[np.arange(len(truth)), np.searchsorted(model.classes_, truth)]
    return Reading(t, seed, likelihood, model.predict(second) == truth)


def choose(readings: Sequence[Reading]) -> tuple[np.ndarray, np.ndarray]:
    """Which reading the oracle chooses for each image, and whether that is right, ``(N,)`` each."""
    chosen = np.stack([reading.likelihood for reading in readings]).argmax(0)
    return chosen, np.stack([reading.right for reading in readings])[chosen, np.arange(len(chosen))]


def describe(best: Reading, of_timesteps: Sequence[Reading], of_seeds: Sequence[Reading]) -> str:
    """A table: the best timestep for all images, and what an oracle gains by choosing for each."""
    chosen, by_timestep = choose(of_timesteps)
    _, by_seed = choose(of_seeds)
    shares = np.bincount(chosen, minlength=len(of_timesteps)) / len(chosen)
    taken = ', '.join(f'{reading.t} for {100 * s:.0f} %' for reading, s in zip(of_timesteps, shares, strict=True))
    names = ', '.join(str(reading.t) for reading in of_timesteps)

    def row(name: str, right: np.ndarray, against: str) -> str:
        return f'| {name} | {100 * right.mean():.1f} | {against} |'

    return '\n'.join(
        [
            f'Accuracy of linear classifiers of {LAYER}, %, {LABELS:,} labels, {len(chosen):,} validation images:',
            '',
            '| read at | accuracy | against the best for all, points (standard error) |',
            '|---|---|---|',
            row(f't = {best.t}, the best for all', best.right, ''),
            row(f't of {names}, by an oracle for each image', by_timestep, _gain(by_timestep, best.right)),
            row(
                f'{len(of_seeds)} classifiers of t = {best.t}, by the same oracle', by_seed, _gain(by_seed, best.right)
            ),
            '',
            f'The choice of a timestep gains {_gain(by_timestep, by_seed)} points more than that of a classifier.',
            f'The oracle takes t = {taken}.',
        ]
    )


def _gain(right: np.ndarray, reference: np.ndarray) -> str:
    """Difference in points and its standard error, image by image."""
    difference = 100 * (right.astype(float) - reference)
    return f'{difference.mean():+.1f} ({difference.std(ddof=1) / len(difference) ** 0.5:.1f})'
