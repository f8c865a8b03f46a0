"""The runner of trainings that build on each other."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch
from mmcls.apis import jobs
from mmcls.apis.job_runner import JobError, run_jobs, time_left
from mmcls.apis.jobs import Job
from mmcls.errors import RepFusionError


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


def test_a_run_can_use_a_gpu(script, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)  # where its log is looked at before it has begun
    run_jobs([script('gpu', 'import torch\nassert not torch.cuda._is_in_bad_fork()')], 1)


def test_a_run_takes_the_memory_that_it_has_freed(script):
    forkserver._forkserver._stop()  # that of another test may have been started otherwise
    code = """
import resource, torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first, *_, last = [faults() for _ in range(20)]
assert last < first / 10
"""
    run_jobs([script('memory', code)], 1)


def test_a_run_ends_with_the_one_that_started_it(tmp_path):
    (tmp_path / 'classification_distill').mkdir()
    running, runner = tmp_path / 'running', tmp_path / 'runner.py'
    script = tmp_path / 'script.py'
    script.write_text(f'import os, time\nopen({str(running)!r}, "x").write(str(os.getpid()))\ntime.sleep(60)')
    runner.write_text(
        'import pathlib, sys\nfrom mmcls.apis import job_runner, jobs\n'
        f'jobs.ROOT = pathlib.Path({str(tmp_path)!r})\n'
        'jobs._config_text = jobs._code_digest = lambda *_: ""\n'
        'class Script(jobs.Job):\n'
        '    command = property(lambda self: [self.config])\n'
        'if __name__ == "__main__":\n'
        f'    job_runner.run_jobs([Script("script", {str(script)!r}, jobs.ROOT / "work")], 1)\n'
    )
    with subprocess.Popen([sys.executable, str(runner)], stdout=subprocess.DEVNULL) as parent:
        wait_for(lambda: running.is_file() and running.read_text(), 60)
        parent.kill()
    wait_for(lambda: not Path(f'/proc/{running.read_text()}').exists(), 20)


def test_a_script_that_starts_runs_is_not_run_again_by_each(tmp_path):
    (tmp_path / 'classification_distill').mkdir()
    job, script = tmp_path / 'job.py', tmp_path / 'script.py'
    job.write_text(f'open({str(tmp_path / "done")!r}, "x")\n')
    script.write_text(  # at its top, as in a notebook, without asking for __main__
        'import pathlib\nfrom mmcls.apis import job_runner, jobs\n'
        f'jobs.ROOT = pathlib.Path({str(tmp_path)!r})\n'
        'jobs._config_text = jobs._code_digest = lambda *_: ""\n'
        'class Script(jobs.Job):\n'
        '    command = property(lambda self: [self.config])\n'
        f'open({str(tmp_path / "begun")!r}, "x")\n'
        f'job_runner.run_jobs([Script("script", {str(job)!r}, jobs.ROOT / "work")], 1)\n'
        'print(__file__)\n'
    )
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / 'done').is_file()
    assert run.stdout.splitlines()[-1] == str(script)


@pytest.mark.parametrize(('seconds', 'text'), [(30, ''), (180, ', about 3 min left')])
def test_the_time_left_is_said_where_it_is_long(seconds, text):
    assert time_left(seconds) == text


def wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_job_that_fails_shows_its_log_and_stops_the_others(script, tmp_path):
    slow, failing = script('slow', 'time.sleep(60)'), script('failing', 'raise ValueError("no such teacher")')
    with pytest.raises(JobError, match=r'(?s)failing failed.*no such teacher'):
        run_jobs([slow, failing], 2)
    assert not slow.done
    assert not failing.done


def test_a_job_of_other_settings_is_not_resumed(script, tmp_path):
    job = script('run', 'for name in ("epoch_1.pth", "timestep_histogram.jsonl"): pathlib.Path("../run", name).touch()')
    run_jobs([job], 1)
    (tmp_path / 'classification_distill/run').unlink()
    only = 'assert {path.name for path in pathlib.Path("../run").iterdir()} == {"inputs.json", "run.log"}'
    other = script('run', only)
    assert not other.done
    run_jobs([other], 1)
    assert other.done
    assert (tmp_path / 'run.earlier/epoch_1.pth').is_file()  # hours of work are not deleted for a changed option


def test_the_work_of_a_run_that_goes_on_is_left_where_it_is(script, tmp_path):
    job = script('run', '')
    run_jobs([job], 1)
    (tmp_path / 'classification_distill/run').unlink()
    hold = (
        'import sys, time\nfrom mmcls.engine.stopping import locked_work_dir\n'
        'with locked_work_dir(sys.argv[1], "none"):\n    print("held", flush=True)\n    time.sleep(60)'
    )
    with subprocess.Popen([sys.executable, '-c', hold, str(tmp_path / 'run')], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b'held\n'
        with pytest.raises(RepFusionError, match='is the work directory of a training that still runs'):
            run_jobs([script('run', '# other settings')], 1)
        other.kill()
    assert (tmp_path / 'run/done.json').is_file()


def test_a_run_that_ends_without_its_metric_is_not_done(script):
    job = script('run', '', logs='NME')
    with pytest.raises(JobError, match=r'run ended without NME, .* Remove .*run and run the same command again'):
        run_jobs([job], 1)
    assert not job.done


def test_the_callers_environment_stays(script, monkeypatch):
    monkeypatch.delenv('MALLOC_TRIM_THRESHOLD_', raising=False)
    monkeypatch.setenv('OMP_NUM_THREADS', '7')
    run_jobs([script('run', 'import os\nassert os.environ["OMP_NUM_THREADS"] == "1"')], 1)
    assert os.environ['OMP_NUM_THREADS'] == '7'
    assert 'MALLOC_TRIM_THRESHOLD_' not in os.environ


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
    for name, rows in (('1', '{"NME": 0.5}\n{"NME": 0.25}\n{"NM'), ('2', '{"loss": 1}\n')):
        (tmp_path / name / 'vis_data').mkdir(parents=True)
        (tmp_path / name / 'vis_data' / 'scalars.json').write_text(rows)
    assert job.metric('NME') == 0.25
    assert job.metric('AUC') is None
