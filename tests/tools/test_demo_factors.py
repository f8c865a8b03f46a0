"""One factor of a distillation at a time, on CIFAR-10."""

import json
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from mmcls.apis.jobs import Job
from mmcls.demo import cifar10, factors
from mmcls.engine import prepare_config
from mmengine.config import Config
from mmpretrain.registry import MODELS
from support import ROOT


def config_of(job: Job) -> Config:
    with chdir(ROOT / job.tree):
        return prepare_config(job.config, job.cfg_options[1:])


def distillations(pipeline_folder: str) -> dict[str, Job]:
    """That of each factor, with the first seed."""
    runs = factors.plan(cifar10.Part(teacher=pipeline_folder))
    return {name: job.needs[0] for (name, rate, seed), job in runs.items() if rate == factors.RATES[0] and seed == 0}


def test_each_factor_builds_and_none_is_the_recipe(pipeline_folder, tmp_path):
    seen, readings = {}, {}
    for name, job in distillations(pipeline_folder).items():
        config = config_of(job)
        model = MODELS.build(config.model | {'data_preprocessor': config.data_preprocessor})
        losses = [(type(loss).__name__, loss.pooled, getattr(loss, 'distance', None)) for loss in model.distill_losses]
        policy = model.timestep_policy
        t = int(policy.sample(torch.zeros(1, 3, 8, 8)).t)
        views, length = config.model.feature_cache.views, config.train_cfg.max_epochs
        seen[name] = (model.teacher.layers, model.teacher.noise, t, losses, views, length)
        reading = repr((model.cache_origin(), model.cached_shapes(), t, views))
        folder = config.model.feature_cache.folder
        assert readings.setdefault(folder, reading) == reading
    assert len(set(readings.values())) == len(readings)  # what reads the same shares a folder, and nothing else does
    assert len({repr(each) for each in seen.values()}) == len(factors.FACTORS)
    recipe = seen.pop('the recipe')
    for name, other in seen.items():
        differing = [one != two for one, two in zip(recipe, other, strict=True)]
        alone = name.endswith('alone')  # a layer less is a loss less
        assert sum(differing) == (2 if alone else 1), name


def test_factors_keep_their_students_apart():
    jobs = [job for job in distillations('none').values()]
    assert len({job.work_dir for job in jobs}) == len(factors.FACTORS)
    (whole,) = cifar10.plan(cifar10.Part(cifar10.CPU, 'none'))
    recipe = next(job for job in whole.distillations(cifar10.RECIPE))
    assert (recipe.command, recipe.work_dir) == (
        jobs[0].command,
        jobs[0].work_dir,
    )  # what the comparison of starts has trained is not trained again
    runs = factors.plan(cifar10.Part(cifar10.CPU, 'none')).values()
    assert not {job.work_dir for job in runs} & {job.work_dir for job in whole.jobs.values()}
    for job in runs:
        lists = [job.options[f'{split}_dataloader.dataset.dataset.ann_file'] for split in ('train', 'val')]
        assert lists[1] == 'meta/val.txt' != lists[0]


@pytest.fixture
def runs(tmp_path) -> factors.Runs:
    """Each factor is a point better than the one before, at the second rate, give or take what the seed decides."""
    runs = {}
    for number, name in enumerate(factors.FACTORS):
        for rate, base in zip(factors.RATES, (10, 40, 20), strict=True):
            for seed in range(factors.NUM_SEEDS):
                job = runs[name, rate, seed] = Job('', '', Path(tmp_path, name, str(rate), str(seed)))
                folder = job.work_dir / '20260101' / 'vis_data'
                folder.mkdir(parents=True)
                value = base + number + 3 * seed + (number if seed == 2 else 0)
                (folder / 'scalars.json').write_text(json.dumps({factors.METRIC: value, 'step': 1}) + '\n')
    return runs


def test_the_table_pairs_seeds_at_the_best_rate(runs):
    lines = factors.describe(runs).splitlines()
    assert '| the recipe | 43.0 |  |' in lines
    # Two more, and two further with one of three seeds: 2.67 on average, with a deviation of 1.15.
    assert '| t = 20 | 45.7 | +2.7 (0.7) |' in lines
