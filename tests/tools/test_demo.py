"""The demo's plans."""

import copy
import functools
import json
from argparse import ArgumentParser
from pathlib import Path

import pytest
import torch
from mmcls import demo
from mmcls.apis.jobs import Job, in_order
from mmcls.demo import cifar10, faces, factors
from mmcls.demo.comparison import Comparison
from mmcls.engine.launch import apply_cfg_options
from mmengine.config import Config, DictAction
from mmengine.registry import MODELS, init_default_scope
from support import ROOT

WITH_RUNS = [name for name, part in demo.PARTS.items() if hasattr(part.domain, 'plan')]
COMPARED = [name for name in WITH_RUNS if demo.PARTS[name].domain is not factors]


@pytest.mark.parametrize(('instructions', 'slower'), [('AVX2', True), ('AVX512_VNNI', False)])
def test_a_processor_that_takes_longer_is_told_so(instructions, slower, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: instructions)
    assert ('this processor has AVX2: expect' in next(demo.demo('digits'))) == slower


def all_jobs(name: str) -> list[Job]:
    if demo.PARTS[name].domain is factors:
        return in_order(list(factors.plan(cifar10.Part()).values()))
    return in_order([job for comparison in all_comparisons(name) for job in comparison.jobs.values()])


def all_comparisons(name: str) -> list[Comparison]:
    part = demo.PARTS[name]
    return part.domain.plan(part.settings)


load = functools.cache(Config.fromfile)


def last_checkpoint(job: Job) -> str:
    length = load(str(ROOT / job.tree / job.config)).train_cfg
    if length.by_epoch:
        return f'epoch_{job.options.get("train_cfg.max_epochs", length.get("max_epochs"))}.pth'
    return f'iter_{job.options.get("train_cfg.max_iters", length.get("max_iters"))}.pth'


@pytest.mark.parametrize('name', WITH_RUNS)
def test_every_run_comes_once_and_after_what_it_needs(name):
    ordered = all_jobs(name)
    folders = [job.work_dir for job in ordered]
    assert len(set(folders)) == len(folders)
    for position, job in enumerate(ordered):
        assert all(need.work_dir in folders[:position] for need in job.needs)
        assert (ROOT / job.tree / job.config).is_file()


@pytest.mark.parametrize('name', WITH_RUNS)
def test_a_run_reads_what_the_run_before_it_ends_with(name):
    for job in all_jobs(name):
        read = {value for value in job.options.values() if isinstance(value, Path)}
        assert {path.parent for path in read} == {need.work_dir for need in job.needs}
        for path in read:
            (need,) = job.needs
            assert path.name in ('pipeline', last_checkpoint(need)), job.name


@pytest.mark.parametrize('name', COMPARED)
def test_starts_differ_in_nothing_but_the_start(name):
    for comparison in all_comparisons(name):
        assert len(comparison.seeds) >= 5
        assert len(comparison.scratches) == 2
        assert all(Path(comparison.checkpoint).name == last_checkpoint(job) for job in comparison.jobs.values())
        rest = {}
        for (_, *key), job in comparison.jobs.items():
            common = {k: v for k, v in job.options.items() if 'init_cfg' not in k and 'zero_init' not in k}
            length = last_checkpoint(job)
            assert rest.setdefault(tuple(key), (common, length)) == (common, length)
        for (_, rate, seed), (common, _) in rest.items():
            assert common['optim_wrapper.optimizer.lr'] == rate
            assert common['randomness.seed'] == seed


def student_at_the_start(job: Job, field: str) -> tuple[dict, dict]:
    """The student's tensors as built, and after the initialisation that the job's config asks for."""
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    config = Config.fromfile(ROOT / job.tree / job.config)
    apply_cfg_options(config, parser.parse_args(job.cfg_options).cfg_options)
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    student = model.get_submodule(field)
    built = copy.deepcopy(student.state_dict())
    model.init_weights()
    return built, student.state_dict()


@pytest.mark.parametrize(
    ('name', 'number', 'student'),
    [
        ('digits', 0, 'backbone'),
        ('cifar10', 0, 'backbone'),
        ('faces', 0, 'backbone.context_path.backbone'),
        ('faces', 1, 'backbone'),
    ],
)
def test_the_scratches_are_the_librarys_and_torchs(name, number, student):
    comparison = all_comparisons(name)[number]
    for start in comparison.scratches:
        job = next(job for key, job in comparison.jobs.items() if key[0] == start)
        built, initialised = student_at_the_start(job, student)
        changed = {key for key, value in initialised.items() if not torch.equal(value, built[key])}
        convolutions = {key for key, value in built.items() if value.dim() == 4}
        assert changed == set() if 'torch' in start else convolutions <= changed


def test_simclr_trains_the_student_that_is_distilled():
    tree = ROOT / 'classification_distill'
    backbones = [
        load(str(tree / path)).model.backbone.to_dict() | {'out_indices': None}
        for path in (faces.SIMCLR_CONFIG, 'configs/demofaces-hint/ddpm-r18_hint.py')
    ]
    assert backbones[0] == backbones[1]
    for comparison in faces.plan(faces.QUICK):
        job = next(job for key, job in comparison.jobs.items() if key[0] == faces.SIMCLR)
        (prefix,) = (value for key, value in job.options.items() if key.endswith('init_cfg.prefix'))
        (pretraining,) = job.needs
        checkpoint = next(value for key, value in job.options.items() if key.endswith('init_cfg.checkpoint'))
        epochs = load(str(tree / pretraining.config)).train_cfg.max_epochs
        assert (prefix, checkpoint) == ('backbone.', pretraining.work_dir / f'epoch_{epochs}.pth')


def test_faces_that_choose_are_neither_trained_on_nor_tested(tmp_path):
    (parsing, landmarks) = faces.plan(faces.FULL)
    chosen = {}
    for (_, labels, _, seed), job in landmarks.jobs.items():
        indices = set(json.loads(job.options['train_dataloader.dataset.indices']))
        assert len(indices) == labels
        assert not indices & set(json.loads(job.options['val_dataloader.dataset.indices']))
        assert chosen.setdefault((labels, seed), indices) == indices
        test = load(str(ROOT / job.tree / job.config)).test_dataloader.dataset.ann_file
        assert test != job.options['val_dataloader.dataset.ann_file']
    assert len({frozenset(indices) for indices in chosen.values()}) == 4 * 5 + 1  # all of them are the same five times
    config = load(str(ROOT / 'segmentation' / next(iter(parsing.jobs.values())).config))
    files = [config[f'{split}_dataloader'].dataset.ann_file for split in ('train', 'val', 'test')]
    assert len(set(files)) == 3
