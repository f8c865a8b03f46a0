"""The demo's plans, the runner of its jobs, and what it reports."""

import copy
import functools
import json
import subprocess
import sys
import time
from argparse import ArgumentParser
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import stdev

import pytest
import torch
from mmcls import demo
from mmcls.apis import jobs
from mmcls.apis.jobs import Job, in_order, run_jobs
from mmcls.demo import faces
from mmcls.demo import report as demo_report
from mmcls.demo.report import Comparison
from mmcls.engine.launch import apply_cfg_options
from mmengine.config import Config, DictAction
from mmengine.registry import MODELS, init_default_scope
from support import ROOT


def all_jobs(name: str) -> list[Job]:
    domain, settings = demo.PARTS[name]
    return in_order([job for comparison in domain.plan(settings) for job in comparison.jobs.values()])


load = functools.cache(Config.fromfile)


def last_checkpoint(job: Job) -> str:
    length = load(str(ROOT / job.tree / job.config)).train_cfg
    if length.by_epoch:
        return f'epoch_{job.options.get("train_cfg.max_epochs", length.get("max_epochs"))}.pth'
    return f'iter_{length.max_iters}.pth'


@pytest.mark.parametrize('name', demo.PARTS)
def test_every_run_comes_once_and_after_what_it_needs(name):
    ordered = all_jobs(name)
    folders = [job.work_dir for job in ordered]
    assert len(set(folders)) == len(folders)
    for position, job in enumerate(ordered):
        assert all(need.work_dir in folders[:position] for need in job.needs)
        assert (ROOT / job.tree / job.config).is_file()


@pytest.mark.parametrize('name', demo.PARTS)
def test_a_run_reads_what_the_run_before_it_ends_with(name):
    for job in all_jobs(name):
        read = {value for value in job.options.values() if isinstance(value, Path)}
        assert {path.parent for path in read} == {need.work_dir for need in job.needs}
        for path in read:
            (need,) = job.needs
            assert path.name in ('pipeline', last_checkpoint(need)), job.name


@pytest.mark.parametrize('name', demo.PARTS)
def test_starts_differ_in_nothing_but_the_start(name):
    domain, settings = demo.PARTS[name]
    for comparison in domain.plan(settings):
        assert len(comparison.seeds) >= 5
        assert len(comparison.scratches) == 2
        assert all(Path(comparison.checkpoint).name == last_checkpoint(job) for job in comparison.jobs.values())
        rest = {}
        for (_, *key), job in comparison.jobs.items():
            common = {k: v for k, v in job.options.items() if 'init_cfg' not in k and 'zero_init' not in k}
            length = load(str(ROOT / job.tree / job.config)).train_cfg.max_iters
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
    [('digits', 0, 'backbone'), ('faces', 0, 'backbone.context_path.backbone'), ('faces', 1, 'backbone')],
)
def test_the_scratches_are_the_librarys_and_torchs(name, number, student):
    domain, settings = demo.PARTS[name]
    comparison = domain.plan(settings)[number]
    for start in comparison.scratches:
        job = next(job for key, job in comparison.jobs.items() if key[0] == start)
        built, initialised = student_at_the_start(job, student)
        changed = {key for key, value in initialised.items() if not torch.equal(value, built[key])}
        convolutions = {key for key, value in built.items() if value.dim() == 4}
        assert changed == set() if 'torch' in start else convolutions <= changed


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
    assert len({frozenset(indices) for indices in chosen.values()}) == 2 * 5 + 1  # all of them are the same five times
    config = load(str(ROOT / 'segmentation' / next(iter(parsing.jobs.values())).config))
    files = [config[f'{split}_dataloader'].dataset.ann_file for split in ('train', 'val', 'test')]
    assert len(set(files)) == 3


@dataclass
class Script(Job):
    """A job that runs lines of Python."""

    @property
    def command(self) -> list[str]:
        return [self.config]


@pytest.fixture
def script(tmp_path, monkeypatch):
    (tmp_path / 'classification_distill').mkdir()
    monkeypatch.setattr(jobs, 'ROOT', tmp_path)
    monkeypatch.setattr(jobs, '_config_text', lambda path: path.read_text())
    monkeypatch.setattr(jobs, '_code_digest', lambda: 'this code')

    def make(name: str, code: str, **settings) -> Script:
        path = tmp_path / f'{name}{len(list(tmp_path.glob("*.py")))}.py'
        path.write_text(f'import time, pathlib\npathlib.Path("{name}").touch(exist_ok=False)\n{code}\n')
        return Script(name, str(path), tmp_path / name, **settings)

    return make


def test_jobs_run_once_each_after_what_they_need(script, tmp_path, capsys):
    first = script('first', 'time.sleep(0.2); pathlib.Path("made").touch()')
    second = script('second', 'pathlib.Path("made").rename("taken")', needs=(first,))
    run_jobs([second, first], 2)
    assert (tmp_path / 'classification_distill/taken').is_file()
    run_jobs([second, first], 2)  # a script that ran again would fail
    assert '2 of 2 runs are done already.' in capsys.readouterr().out


def test_a_run_ends_with_the_one_that_started_it(tmp_path):
    (tmp_path / 'classification_distill').mkdir()
    running, runner = tmp_path / 'running', tmp_path / 'runner.py'
    script = tmp_path / 'script.py'
    script.write_text(f'import os, time\nopen({str(running)!r}, "x").write(str(os.getpid()))\ntime.sleep(60)')
    runner.write_text(
        'import pathlib, sys\nfrom mmcls.apis import jobs\n'
        f'jobs.ROOT = pathlib.Path({str(tmp_path)!r})\n'
        'jobs._config_text = jobs._code_digest = lambda *_: ""\n'
        'class Script(jobs.Job):\n'
        '    command = property(lambda self: [self.config])\n'
        'if __name__ == "__main__":\n'
        f'    jobs.run_jobs([Script("script", {str(script)!r}, jobs.ROOT / "work")], 1)\n'
    )
    with subprocess.Popen([sys.executable, str(runner)], stdout=subprocess.DEVNULL) as parent:
        wait_for(lambda: running.is_file() and running.read_text(), 60)
        parent.kill()
    wait_for(lambda: not Path(f'/proc/{running.read_text()}').exists(), 20)


def wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_job_that_fails_shows_its_log_and_stops_the_others(script, tmp_path):
    slow, failing = script('slow', 'time.sleep(60)'), script('failing', 'raise ValueError("no such teacher")')
    with pytest.raises(jobs.JobError, match=r'(?s)failing failed.*no such teacher'):
        run_jobs([slow, failing], 2)
    assert not slow.done
    assert not failing.done


def test_a_job_of_other_settings_is_not_resumed(script, tmp_path):
    job = script('run', 'for name in ("epoch_1.pth", "timestep_histogram.jsonl"): pathlib.Path("../run", name).touch()')
    run_jobs([job], 1)
    (tmp_path / 'classification_distill/run').unlink()
    only = 'assert {path.name for path in pathlib.Path("../run").iterdir()} == {"recipe.json", "run.log"}'
    other = script('run', only)
    assert not other.done
    run_jobs([other], 1)
    assert other.done


def test_a_job_is_done_again_when_the_code_has_changed(script, tmp_path, monkeypatch):
    job = script('run', '')
    run_jobs([job], 1)
    assert job.done
    monkeypatch.setattr(jobs, '_code_digest', lambda: 'other code')
    assert not job.done


def test_the_code_is_what_runs_and_not_what_is_said_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, 'ROOT', tmp_path)
    module = tmp_path / 'classification_distill' / 'mmcls' / 'part.py'
    module.parent.mkdir(parents=True)

    def digest(code: str) -> str:
        module.write_text(code)
        return jobs._code_digest.__wrapped__()

    first = digest('"""A part."""\ndef f(x):\n    """Twice x."""\n    return 2 * x\n')
    assert digest('"""Other words."""\n# Why.\ndef f(x):\n    return (2 * x)\n') == first
    assert digest('def f(x):\n    return 3 * x\n') != first


def test_a_need_that_is_not_among_the_jobs_is_refused(script):
    first = script('first', '')
    with pytest.raises(ValueError, match=r"second needs \['first'\], which are neither done nor among the jobs"):
        run_jobs([script('second', '', needs=(first,))], 1)


def test_a_metric_of_a_run_that_was_killed_at_its_end(tmp_path):
    job = Job('', '', tmp_path)
    for name, rows in (('1', '{"NME": 0.5}\n{"NME": 0.25}\n'), ('2', '{"loss": 1}\n')):
        (tmp_path / name / 'vis_data').mkdir(parents=True)
        (tmp_path / name / 'vis_data' / 'scalars.json').write_text(rows)
    assert job.metric('NME') == 0.25
    assert job.metric('AUC') is None


@pytest.fixture
def comparison(tmp_path) -> Comparison:
    """NME of three starts at 20 labels, two learning rates, three seeds; lower is better."""
    validation = {  # of the learning rates 0.1 and 0.2
        'scratch, one': (0.10, 0.30),
        'scratch, other': (0.40, 0.09),
        'REINFORCE': (0.20, 0.05),
    }
    tested = {
        'scratch, one': (0.01, 0.01, 0.01),
        'scratch, other': (0.09, 0.08, 0.10),
        'REINFORCE': (0.08, 0.07, 0.085),
    }
    distillation = Job('distil', '', tmp_path / 'distil')
    log(distillation, {'timestep_mean': 200, 'time': 0.03})
    rows = [{'iter': i, 'num_timesteps': 1000, 'counts': counts} for i, counts in ((50, [5, 5]), (100, [1, 9]))]
    (distillation.work_dir / 'timestep_histogram.jsonl').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
    runs = {}
    for start, of_rates in validation.items():
        for rate, value in zip((0.1, 0.2), of_rates, strict=True):
            for seed in range(3):
                needs = (distillation,) if start == 'REINFORCE' else ()
                job = runs[start, 20, rate, seed] = Job('', '', tmp_path / f'{start}{rate}{seed}', needs=needs)
                log(job, {'NME': 1.0}, {'NME': value + 0.01 * seed}, {'loss': 3})
                if value == min(of_rates):  # only these are tested
                    (job.work_dir / 'test').mkdir()
                    (job.work_dir / 'test' / 'metrics.json').write_text(json.dumps({'NME': tested[start][seed]}))
    return Comparison('NME, %', 'NME', runs, 'iter_1.pth', factor=100, higher_is_better=False)


def log(job: Job, *rows: dict) -> None:
    folder = job.work_dir / '20260101' / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))


def test_validation_images_choose_rates_and_the_strongest_scratch(comparison):
    assert [comparison.rate(start, 20) for start in comparison.starts] == [0.1, 0.2, 0.2]
    assert comparison.strongest_scratch(20) == 'scratch, other'  # though the other is better on test images
    assert {test.checkpoint for test in comparison.tests.values()} == {
        comparison.jobs[start, 20, comparison.rate(start, 20), seed].work_dir / 'iter_1.pth'
        for start in comparison.starts
        for seed in comparison.seeds
    }
    upwards = replace(comparison, higher_is_better=True)
    assert [upwards.rate(start, 20) for start in upwards.starts] == [0.2, 0.1, 0.1]


def test_only_the_first_seeds_run_at_all_rates(comparison):
    assert len(comparison.tuning) == 3 * 2 * 2  # starts, rates, tuning seeds
    assert len(comparison.chosen) == 3 * 3  # starts, seeds
    last = [job.work_dir.name for (*_, seed), job in comparison.jobs.items() if seed == 2]
    assert not {job.work_dir.name for job in comparison.tuning} & set(last)


def test_the_difference_is_of_pairs(comparison):
    difference, error = comparison.difference('REINFORCE', 'scratch, other', 20)
    assert difference == pytest.approx((-1 - 1 - 1.5) / 3)
    assert error == pytest.approx(stdev([-1, -1, -1.5]) / 3**0.5)


def test_the_report_says_which_start_is_better(comparison, tmp_path):
    text = demo_report.write([comparison], tmp_path, 'made')
    assert '| scratch, other | 9.0 (1.0) at 0.2 |  |  |' in text
    assert '| REINFORCE | 7.8 (0.8) at 0.2 | 200 | 30 |' in text
    against = 'With 20 labels, against scratch, other (the best on validation images): REINFORCE -1.2 points'
    assert f'{against} (standard error 0.2), better.' in text
    assert text.endswith('better.')
    assert '90% in [500, 1000), 10% in [0, 500)' in text
    assert (tmp_path / 'figure_made.png').stat().st_size > 10_000
    assert (tmp_path / 'table_made.md').read_text().strip() == text.strip()


def test_a_difference_within_twice_its_error_is_none(comparison, tmp_path):
    metrics = comparison.tests['REINFORCE', 20, 0].work_dir / 'metrics.json'
    metrics.write_text(json.dumps({'NME': 0.2}))
    assert 'REINFORCE +2.8 points (standard error 4.1), no difference' in demo_report.write([comparison], tmp_path, 'a')
