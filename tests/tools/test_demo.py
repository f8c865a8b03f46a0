"""The demo's plans, the runner of its jobs, and what it reports."""

import functools
import json
from dataclasses import replace
from pathlib import Path
from statistics import stdev

import demo
import demo_report
import jobs
import pytest
from demo_report import Comparison
from jobs import Job, in_order, run_jobs
from mmengine.config import Config
from support import ROOT


def all_jobs(name: str) -> list[Job]:
    domain, settings = demo.PARTS[name]
    return in_order([job for comparison in domain.plan(settings) for job in comparison.jobs.values()])


load = functools.cache(Config.fromfile)


def last_checkpoint(job: Job) -> str:
    length = load(ROOT / job.tree / job.config).train_cfg
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


def test_starts_are_compared_on_the_same_faces():
    for comparison in demo.demo_faces.plan(demo.demo_faces.FULL):
        chosen = {}
        for (_, labels, seed), job in comparison.jobs.items():
            indices = job.options.get('train_dataloader.dataset.indices')
            assert (indices is None) == (labels == demo.demo_faces.NUM_TRAIN)
            assert chosen.setdefault((labels, seed), indices) == indices
        few = [set(json.loads(indices)) for (labels, _), indices in chosen.items() if indices]
        assert sorted(len(faces) for faces in few) == [20] * 3 + [100] * 3
        assert len(set(map(frozenset, few))) == len(few)


class Script(Job):
    """A job that runs a line of Python."""

    @property
    def command(self) -> list[str]:
        return ['-c', f'import time, pathlib; {self.config}']


@pytest.fixture
def script(tmp_path, monkeypatch):
    (tmp_path / 'classification_distill').mkdir()
    monkeypatch.setattr(jobs, 'ROOT', tmp_path)
    monkeypatch.setattr(jobs, '_config_text', str)

    def make(name: str, code: str, **settings) -> Script:
        return Script(name, f'pathlib.Path("{name}").touch(exist_ok=False); {code}', tmp_path / name, **settings)

    return make


def test_jobs_run_once_each_after_what_they_need(script, tmp_path, capsys):
    first = script('first', 'time.sleep(0.2); pathlib.Path("made").touch()')
    second = script('second', 'pathlib.Path("made").rename("taken")', needs=(first,))
    run_jobs([second, first], 2)
    assert (tmp_path / 'classification_distill/taken').is_file()
    run_jobs([second, first], 2)  # a script that ran again would fail
    assert '2 of 2 runs are done already.' in capsys.readouterr().out


def test_a_job_that_fails_shows_its_log_and_stops_the_others(script, tmp_path):
    slow, failing = script('slow', 'time.sleep(60)'), script('failing', 'raise ValueError("no such teacher")')
    with pytest.raises(SystemExit, match=r'(?s)failing failed.*no such teacher'):
        run_jobs([slow, failing], 2)
    assert not slow.done
    assert not failing.done


def test_a_job_of_other_settings_is_not_resumed(script, tmp_path):
    job = script('run', 'pathlib.Path("../run/epoch_1.pth").touch()')
    run_jobs([job], 1)
    other = replace(job, config='assert not pathlib.Path("../run/epoch_1.pth").exists()')
    assert not other.done
    run_jobs([other], 1)
    assert other.done


@pytest.fixture
def comparison(tmp_path) -> Comparison:
    """NME of two starts at 20 labels, three seeds; lower is better."""
    values = {'scratch': (0.09, 0.08, 0.10), 'REINFORCE': (0.08, 0.07, 0.085)}
    distillation = Job('distil', '', tmp_path / 'distil')
    log(distillation, {'timestep_mean': 200, 'time': 0.03})
    rows = [{'iter': i, 'num_timesteps': 1000, 'counts': counts} for i, counts in ((50, [5, 5]), (100, [1, 9]))]
    (distillation.work_dir / 'timestep_histogram.jsonl').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
    runs = {}
    for start, of_seeds in values.items():
        for seed, value in enumerate(of_seeds):
            needs = (distillation,) if start == 'REINFORCE' else ()
            job = runs[start, 20, seed] = Job('', '', tmp_path / f'{start}{seed}', needs=needs)
            log(job, {'NME': 1.0}, {'NME': value}, {'loss': 3})
    return Comparison('NME, %', 'NME', runs, factor=100, higher_is_better=False)


def log(job: Job, *rows: dict) -> None:
    folder = job.work_dir / '20260101' / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))


def test_the_difference_is_of_pairs(comparison):
    difference, error = comparison.difference('REINFORCE', 'scratch', 20)
    assert difference == pytest.approx((-1 - 1 - 1.5) / 3)
    assert error == pytest.approx(stdev([-1, -1, -1.5]) / 3**0.5)


def test_the_report_says_which_start_is_better(comparison, tmp_path):
    text = demo_report.write([comparison], tmp_path, 'made')
    assert '| scratch | 9.0 (1.0) |  |  |' in text
    assert '| REINFORCE | 7.8 (0.8) | 200 | 30 |' in text
    assert 'Against scratch at 20 labels: -1.2 points (standard error 0.2), REINFORCE is better.' in text
    assert '90% in [500, 1000), 10% in [0, 500)' in text
    assert (tmp_path / 'figure_made.png').stat().st_size > 10_000
    assert (tmp_path / 'table_made.md').read_text().strip() == text.strip()
    worse = replace(comparison, higher_is_better=True)
    assert 'REINFORCE is worse' in demo_report.write([worse], tmp_path, 'made')


def test_one_seed_has_no_deviation(comparison, tmp_path):
    jobs_of_one = {key: job for key, job in comparison.jobs.items() if key[2] == 0}
    text = demo_report.write([replace(comparison, jobs=jobs_of_one)], tmp_path, 'made')
    assert '| scratch | 9.0 |' in text
    assert 'standard error' not in text
