"""Runs jobs: a few at a time, each at most once, and on where it was killed."""

import json
import multiprocessing
import os
import runpy
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread

import torch

from ..engine.stopping import locked_work_dir
from ..errors import RepFusionError, UnusableInputError
from ..files import write_text
from .jobs import Job

PRELOADED = [
    'diffusers.models.unets.unet_2d',
    'diffusers.pipelines.pipeline_utils',
    'matplotlib.backends.backend_agg',
    'matplotlib.figure',
    'mmcls',
    'mmpretrain.datasets',
    'mmpretrain.evaluation',
    'mmpretrain.visualization',
    'setuptools',
    'torch.utils.tensorboard',
    'yapf',
]
VARIABLES = {
    # Small processes with several threads each are up to ten times slower.
    'OMP_NUM_THREADS': '1',
    # glibc keeps what is freed, up to these bytes. Else it hands each large tensor back to the system, whose pages are
    # made anew in the next step: a tenth of its time on a CPU, a third where a loss sees maps of full resolution.
    'MALLOC_MMAP_THRESHOLD_': str(2**30),
    'MALLOC_TRIM_THRESHOLD_': str(2**33),
}


class JobError(RepFusionError, RuntimeError):
    """A run that failed."""


def runs_at_a_time() -> int:
    """Runs at a time: one a core, or as many as fill a GPU."""
    cores = len(os.sched_getaffinity(0))
    return min(4, cores) if torch.cuda.is_available() else cores


def run_jobs(jobs: list[Job], num_parallel: int) -> None:
    """Run those of ``jobs`` that are not done, in an order that respects what they need.

    Each is a process of its own; without a GPU, of a server that has imported the libraries already.

    Raises:
        ValueError: When a job needs one that is neither done nor among ``jobs``.
        JobError: When one fails, with the end of its log, or on Ctrl-C; the others are stopped.
    """
    waiting = [job for job in jobs if not job.done]
    _check_needs(waiting)
    total, started_at, began = len(jobs), {}, time.monotonic()
    alike, finished = not any(job.needs for job in waiting), 0
    if len(waiting) < total:
        print(f'{total - len(waiting)} of {total} runs are done already.', flush=True)
    running: dict[BaseProcess, Job] = {}
    try:
        while waiting or running:
            for job in [job for job in waiting if all(need.done for need in job.needs)][: num_parallel - len(running)]:
                waiting.remove(job)
                process = _start(job)
                if not sys.stdout.isatty():
                    print(f'{job.name} ...', flush=True)
                running[process], started_at[process] = job, time.monotonic()
            time.sleep(0.2)
            for process in [process for process in running if not process.is_alive()]:
                job = running.pop(process)
                if process.exitcode:
                    _fail(job)
                if job.logs and job.metric(job.logs) is None:
                    raise JobError(
                        f'{job.name} ended without {job.logs}, as a run does that was killed while it was validated. '
                        f'Remove {job.work_dir} and run the same command again.'
                    )
                job.mark_done()
                number, finished = total - len(waiting) - len(running), finished + 1
                seconds = time.monotonic() - started_at[process]
                left = time_left((time.monotonic() - began) / finished * (total - number)) if alike else ''
                clear = '\r\033[K' if sys.stdout.isatty() else ''
                print(f'{clear}[{number}/{total}] {job.name} ({seconds:.0f} s{left})', flush=True)
            if running and sys.stdout.isatty():
                states = '; '.join(f'{job.name}: {job.progress()}' for job in running.values())
                print(f'\r\033[K{states[:100]}', end='', flush=True)
    except KeyboardInterrupt:
        raise JobError(
            'Stopped; what ran saves its state. Run the same command again to resume; finished runs are skipped.'
        ) from None
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join(60)


def time_left(seconds: float) -> str:
    """As the end of a remark, where it is worth one."""
    return f', about {seconds / 60:.0f} min left' if seconds > 90 else ''


def _check_needs(waiting: list[Job]) -> None:
    started = {job.work_dir for job in waiting}
    for job in waiting:
        if missing := [need.name for need in job.needs if need.work_dir not in started and not need.done]:
            raise UnusableInputError(
                f'{job.name} needs {missing}, which are neither done nor among the jobs: see in_order().'
            )


def _start(job: Job) -> BaseProcess:
    inputs = job.work_dir / 'inputs.json'
    if inputs.is_file() and json.loads(inputs.read_text()) != job.inputs:
        _set_aside(job.work_dir)  # of other settings or code: nothing of it is to be resumed, or read
    job.work_dir.mkdir(parents=True, exist_ok=True)
    write_text(inputs, json.dumps(job.inputs))
    write_text(job.work_dir / 'run.log', '')  # which is looked at before the process has begun to write it
    # Libraries ask for GPUs when they are imported, and what is forked after that cannot use one.
    context = multiprocessing.get_context('spawn' if torch.cuda.is_available() else 'forkserver')
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_run, args=(job.command, job.folder, job.work_dir / 'run.log'))
    with _nameless_main(), _environment(VARIABLES):
        process.start()
    return process


def _set_aside(folder: Path) -> None:
    """Rename a work directory, unless a run still writes there; the one set aside last is kept."""
    with locked_work_dir(str(folder), 'none'):
        earlier = folder.with_name(f'{folder.name}.earlier')
        shutil.rmtree(earlier, ignore_errors=True)
        folder.rename(earlier)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The variables for what is started here, and not for the caller."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _nameless_main() -> Iterator[None]:
    """A new process would import the script that called this, and so do again what it does at its top."""
    main = sys.modules['__main__']
    path = main.__dict__.pop('__file__', None)
    try:
        yield
    finally:
        if path is not None:
            main.__file__ = path


def _run(command: list[str], folder: Path, log: Path) -> None:
    """In the new process: the command, as if it had been called in ``folder`` with its output to ``log``."""
    Thread(target=_end_with_parent, daemon=True).start()
    os.chdir(folder)
    with open(log, 'w') as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = command
    runpy.run_path(command[0], run_name='__main__')


def _end_with_parent() -> None:
    """A run must not outlive its parent: the next call would start it a second time in the same folder."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)  # saves what was trained


def _fail(job: Job) -> None:
    log = job.work_dir / 'run.log'
    end = '\n'.join(log.read_text(errors='replace').splitlines()[-15:])
    raise JobError(f'{job.name} failed. The end of {log}:\n{end}\nFix this and run the same command again.')
