"""What each part of the recipe is worth: one factor of a distillation on CIFAR-10 at a time, on validation images."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from statistics import mean, stdev

from ..apis.job_runner import run_jobs, runs_at_a_time
from ..apis.jobs import Job, in_order
from . import cifar10
from .cifar10 import CPU, HINT, WORK_DIR, Part, Start
from .report import write_rows

DATA_SCRIPT = cifar10.DATA_SCRIPT
LABELS, NUM_SEEDS, RATES = 250, 3, cifar10.RATES[:3]  # as its rows in docs/results were measured
# Narrow and on 4,000 images wherever it runs; judged by all 5,000 validation images.
SIZE = replace(CPU, validation='val')
METRIC = 'accuracy/top1'

_ALONE = {'model.teacher.noise': 'forward', 'model.timestep_policy.type': 'FixedPolicy'}
_ALONE |= {'model.timestep_policy.timestep': 60}
RECIPE = Start(f'{HINT}_recipe', {}, SIZE.epochs)
_SHARED = replace(RECIPE, features='ddpm-r18_hint_recipe')  # these read of the diffusion model what the recipe does
FACTORS = {
    'the recipe': RECIPE,
    'clean images': replace(RECIPE, options={'model.teacher.noise': 'none'}),
    **{f't = {t}': replace(RECIPE, options={'model.timestep_policy.timestep': t}) for t in (20, 120, 200)},
    'the middle alone': Start(HINT, _ALONE, SIZE.epochs),
    'the decoder alone': Start(HINT, _ALONE | {'model.teacher.layers': "['up_blocks.1.resnets.0']"}, SIZE.epochs),
    'averages of both': replace(RECIPE, options={'model.distill_loss.0.pooled': True}),
    'maps of both': replace(RECIPE, options={'model.distill_loss.1.pooled': False}),
    'cosine distance': replace(_SHARED, options={f'model.distill_loss.{i}.norm': 'cosine' for i in (0, 1)}),
    'attention of the map': replace(_SHARED, config='configs/cifar10few-at/ddpm-r18_at_recipe'),
    'one view of each image': replace(RECIPE, options={'model.feature_cache.views': 1}),
    'twice as long': replace(_SHARED, epochs=2 * SIZE.epochs),
}
ROW = ('changed', 'learning_rate', 'seed', 'validation')

Runs = dict[tuple[str, float, int], Job]


def study(part: Part) -> Iterator[str]:
    """Run it; what is finished is not run again.

    Yields:
        str: The table, and where the raw rows are.
    """
    runs = plan(part)
    run_jobs(in_order(list(runs.values())), runs_at_a_time())
    path = WORK_DIR / 'rows_factors.csv'
    write_rows(path, ROW, ((*key, job.metric(METRIC)) for key, job in runs.items()))
    yield f'{describe(runs)}\n\nRows: {path}'


def plan(part: Part) -> Runs:
    """The fine-tunings, by factor, learning rate and seed."""
    runs = {}
    for (name, start), seed in product(FACTORS.items(), range(NUM_SEEDS)):
        variant = '' if start == RECIPE else re.sub(r'\W+', '_', name)
        student = cifar10.pretraining(SIZE, name, start, seed, part.teacher, variant)
        for rate in RATES:
            runs[name, rate, seed] = cifar10.finetuning(SIZE, name, LABELS, rate, seed, student, {})
    return runs


def describe(runs: Runs) -> str:
    """A table: each factor at its best learning rate, and against the recipe, seed by seed."""

    def values(name: str) -> list[float]:
        of_rates = [[runs[name, rate, seed].metric(METRIC) for seed in range(NUM_SEEDS)] for rate in RATES]
        return max(of_rates, key=mean)

    recipe = values('the recipe')
    lines = ['| changed | accuracy | against the recipe, points (standard error) |', '|---|---|---|']
    for name in FACTORS:
        differences = [value - reference for value, reference in zip(values(name), recipe, strict=True)]
        against = f'{mean(differences):+.1f} ({stdev(differences) / NUM_SEEDS**0.5:.1f})'
        lines.append(f'| {name} | {mean(values(name)):.1f} | {"" if name == "the recipe" else against} |')
    how = f'{LABELS} labels, validation images, mean of {NUM_SEEDS} seeds at the best of {len(RATES)} learning rates'
    return f'Accuracy, %, {how}:\n\n' + '\n'.join(lines)
