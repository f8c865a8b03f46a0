"""Trainings and tests that build on each other: what each one is, and what its result depends on."""

import ast
import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

from mmengine.config import Config

from ..configs import ROOT
from ..files import read_rows, write_text

NO_PART_OF_A_RUN = ('apis', 'benchmark', 'demo')
LIBRARIES = ('torch', 'diffusers', 'onedl-mmengine', 'onedl-mmpretrain', 'onedl-mmsegmentation', 'mmpose')


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
        logs: Key of a metric without which it is not done.
    """

    name: str
    config: str
    work_dir: Path
    options: dict = field(default_factory=dict)
    needs: tuple['Job', ...] = ()
    tree: str = 'classification_distill'
    logs: str = ''

    @property
    def command(self) -> list[str]:
        return ['tools/train.py', self.config, '--work-dir', str(self.work_dir), '--resume', *self.cfg_options]

    @property
    def cfg_options(self) -> list[str]:
        options = [f'{key}={value}' for key, value in self.options.items()]
        return ['--cfg-options', *options] if options else []

    @property
    def folder(self) -> Path:
        """Where the command is called."""
        return ROOT / self.tree

    @property
    def inputs(self) -> dict:
        """What the result depends on: the command, the whole config, the code, and the same of the jobs it needs."""
        return {
            'command': self.command,
            'config': _config_text(self.folder / self.config),
            'code': _code_digest(),
            'needs': [job.inputs for job in self.needs],
        }

    @property
    def done(self) -> bool:
        path = self.work_dir / 'done.json'
        return path.is_file() and json.loads(path.read_text()) == self.inputs

    def mark_done(self) -> None:
        write_text(self.work_dir / 'done.json', json.dumps(self.inputs))

    def metric(self, key: str) -> float | None:
        """The last value of ``key`` that the run logged, before or after it was resumed; None where it logged none."""
        for log in sorted(self.work_dir.glob('*/vis_data/scalars.json'), reverse=True):
            if values := [row[key] for row in read_rows(log) if key in row]:
                return values[-1]
        return None

    def progress(self) -> str:
        lines = (self.work_dir / 'run.log').read_text(errors='replace').splitlines()
        steps = [line for line in lines if '(train)' in line]
        return steps[-1].split('(train)')[1].split('lr:')[0].strip() if steps else 'starting'


@dataclass
class Test(Job):
    """One run of tools/test.py.

    Attributes:
        checkpoint: What it tests; written by one of ``needs``.
    """

    __test__ = False  # is no test case of pytest's

    checkpoint: Path = Path()

    @property
    def command(self) -> list[str]:
        files = [str(self.checkpoint), '--work-dir', str(self.work_dir), '--out', str(self._metrics)]
        return ['tools/test.py', self.config, *files, *self.cfg_options]

    @property
    def _metrics(self) -> Path:
        return self.work_dir / 'metrics.json'

    def metric(self, key: str) -> float | None:
        return json.loads(self._metrics.read_text()).get(key)


@cache
def _config_text(path: Path) -> str:
    return Config.fromfile(path, import_custom_modules=False).dump()


@cache
def _code_digest() -> str:
    """Of what trains and of the libraries' versions; comments, docstrings and layout do not count."""
    package = ROOT / 'classification_distill' / 'mmcls'
    files = [p for p in sorted(package.rglob('*.py')) if p.relative_to(package).parts[0] not in NO_PART_OF_A_RUN]
    parts = [ast.dump(_without_docstrings(ast.parse(path.read_text()))) for path in files]
    return hashlib.sha256('\n'.join([*parts, *map(version, LIBRARIES)]).encode()).hexdigest()


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return tree


def in_order(jobs: list[Job]) -> list[Job]:
    """The jobs and all that they need, each once: first those that others need, each after what it needs itself."""

    def with_needs(job: Job) -> list[Job]:
        return [*(other for need in job.needs for other in with_needs(need)), job]

    unique = {each.work_dir: each for job in jobs for each in with_needs(job)}
    needed = {need.work_dir for job in unique.values() for need in job.needs}
    return sorted(unique.values(), key=lambda job: job.work_dir not in needed)
