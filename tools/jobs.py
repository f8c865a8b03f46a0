"""Runs training commands that build on each other: a few at a time, each at most once, and on where it was killed."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from mmengine.config import Config

TOOLS = Path(__file__).resolve().parent
ROOT = TOOLS.parent


@dataclass
class Job:
    """One run of tools/train.py.

    Attributes:
        name: What a person reads while it runs.
        config: Config file, relative to the tree.
        work_dir: Its work directory.
        options: ``--cfg-options`` as a dict.
        needs: Jobs that must have ended before.
        tree: The tree that it runs in.
    """

    name: str
    config: str
    work_dir: Path
    options: dict = field(default_factory=dict)
    needs: tuple['Job', ...] = ()
    tree: str = 'classification_distill'

    @property
    def command(self) -> list[str]:
        options = [f'{key}={value}' for key, value in self.options.items()]
        command = ['tools/train.py', self.config, '--work-dir', str(self.work_dir), '--resume']
        return command + (['--cfg-options', *options] if options else [])

    @property
    def recipe(self) -> dict:
        """What the result depends on: the command, the whole config, and the same of the jobs it needs."""
        return {
            'command': self.command,
            'config': _config_text(ROOT / self.tree / self.config),
            'needs': [job.recipe for job in self.needs],
        }

    @property
    def done(self) -> bool:
        path = self.work_dir / 'done.json'
        return path.is_file() and json.loads(path.read_text()) == self.recipe

    def mark_done(self) -> None:
        partial = self.work_dir / 'done.json.partial'
        partial.write_text(json.dumps(self.recipe))
        partial.replace(self.work_dir / 'done.json')

    def metric(self, key: str) -> float | None:
        """The last value of ``key`` that the run logged; None where it logged none."""
        newest = max(self.work_dir.glob('*/vis_data/scalars.json'))
        rows = [json.loads(line) for line in newest.read_text().splitlines()]
        return next((row[key] for row in reversed(rows) if key in row), None)

    def progress(self) -> str:
        lines = (self.work_dir / 'train.log').read_text(errors='replace').splitlines()
        steps = [line for line in lines if '(train)' in line]
        return steps[-1].split('(train)')[1].split('lr:')[0].strip() if steps else 'starting'


@cache
def _config_text(path: Path) -> str:
    return Config.fromfile(path, import_custom_modules=False).dump()


def in_order(jobs: list[Job]) -> list[Job]:
    """The jobs and all that they need, each once: first those that others need, each after what it needs itself."""

    def with_needs(job: Job) -> list[Job]:
        return [*(other for need in job.needs for other in with_needs(need)), job]

    unique = {each.work_dir: each for job in jobs for each in with_needs(job)}
    needed = {need.work_dir for job in unique.values() for need in job.needs}
    return sorted(unique.values(), key=lambda job: job.work_dir not in needed)


def run_jobs(jobs: list[Job], num_parallel: int) -> None:
    """Run those of ``jobs`` that are not done, in an order that respects what they need.

    Raises:
        SystemExit: When one fails, with the end of its log; the others are stopped.
    """
    waiting = [job for job in jobs if not job.done]
    total, started_at = len(jobs), {}
    if len(waiting) < total:
        print(f'{total - len(waiting)} of {total} runs are done already.', flush=True)
    running: dict[subprocess.Popen, Job] = {}
    try:
        while waiting or running:
            for job in [job for job in waiting if all(need.done for need in job.needs)][: num_parallel - len(running)]:
                waiting.remove(job)
                process = _start(job)
                if not sys.stdout.isatty():
                    print(f'{job.name} ...', flush=True)
                running[process], started_at[process] = job, time.monotonic()
            time.sleep(0.5)
            for process in [process for process in running if process.poll() is not None]:
                job = running.pop(process)
                if process.returncode:
                    _fail(job)
                job.mark_done()
                number = total - len(waiting) - len(running)
                seconds = time.monotonic() - started_at[process]
                clear = '\r\033[K' if sys.stdout.isatty() else ''
                print(f'{clear}[{number}/{total}] {job.name} ({seconds:.0f} s)', flush=True)
            if running and sys.stdout.isatty():
                states = '; '.join(f'{job.name}: {job.progress()}' for job in running.values())
                print(f'\r\033[K{states[:100]}', end='', flush=True)
    finally:
        for process in running:
            process.terminate()


def _start(job: Job) -> subprocess.Popen:
    job.work_dir.mkdir(parents=True, exist_ok=True)
    recipe = job.work_dir / 'recipe.json'
    if recipe.is_file() and json.loads(recipe.read_text()) != job.recipe:
        for checkpoint in job.work_dir.glob('*.pth'):  # of other settings: not to be resumed
            checkpoint.unlink()
        (job.work_dir / 'last_checkpoint').unlink(missing_ok=True)
    recipe.write_text(json.dumps(job.recipe))
    # One thread each: several small processes with two threads each are up to ten times slower.
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    with open(job.work_dir / 'train.log', 'w') as log:
        return subprocess.Popen(
            [sys.executable, *job.command],
            cwd=ROOT / job.tree,
            stdout=log,
            stderr=log,
            env=environment,
            preexec_fn=end_with_parent if sys.platform == 'linux' else None,
        )


def end_with_parent() -> None:
    """A run must not outlive its parent: the next call would start it a second time in the same folder."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _fail(job: Job) -> None:
    log = job.work_dir / 'train.log'
    end = '\n'.join(log.read_text(errors='replace').splitlines()[-15:])
    raise SystemExit(f'\n{job.name} failed. The end of {log}:\n{end}\nOnce mended, call it again: it goes on there.')
