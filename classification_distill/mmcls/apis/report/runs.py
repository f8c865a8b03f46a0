"""Reads what a training left in its work directory, in MMEngine's layout."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...configs import ROOT, loads_checkpoint, parse_config, type_name, walk
from ...errors import UnusableInputError
from ...files import read_rows
from ...visualization.timesteps import read_histogram

TREES = {'mmpretrain': 'classification_distill', 'mmseg': 'segmentation', 'mmpose': 'landmark'}
ENVIRONMENT = ('Python', 'PyTorch', 'TorchVision', 'OpenCV', 'MMEngine', 'GPU 0', 'GPU 0,1', 'GPU number')
# What differs between repetitions of a run.
REPETITION = ('randomness', 'work_dir', 'resume', 'load_from', 'launcher')


@dataclass
class Run:
    """One training.

    Attributes:
        folder: Its work directory.
        name: What tells it apart from the other runs of the report.
    """

    folder: Path
    name: str

    @cached_property
    def config(self) -> dict:
        """The config of the newest start of the training; tests in the same folder log no scalars."""
        path = max(self.folder.glob('*/vis_data/scalars.json')).with_name('config.py')
        try:
            return parse_config(path.read_text(), path)
        except ValueError as error:
            raise UnusableInputError(
                f'{path} holds more than plain values, so it is no config that MMEngine wrote.'
            ) from error

    @cached_property
    def rows(self) -> list[dict]:
        """What was logged, in order; each row has ``iter``. What a resumption repeated is there once."""
        rows: list[dict] = []
        for path in sorted(self.folder.glob('*/vis_data/scalars.json')):
            start = None
            for row in read_rows(path):
                if 'iter' in row and start is None:
                    start = row['iter']
                    rows = [earlier for earlier in rows if earlier['iter'] < start]
                # A validation has its epoch alone; it comes after the iterations of that epoch.
                rows.append({'iter': rows[-1]['iter'] if rows else 0} | row)
        return rows

    @cached_property
    def tested(self) -> dict[str, float]:
        """The metrics of the newest test in the work directory; none where it was not tested."""
        files = [path for path in self.folder.glob('*/*.json') if path.stem == path.parent.name]
        return json.loads(max(files).read_text()) if files else {}

    @cached_property
    def histogram(self) -> list[dict]:
        """Rows of ``timestep_histogram.jsonl``; none where no policy was watched."""
        path = self.folder / 'timestep_histogram.jsonl'
        return read_histogram(path) if path.is_file() else []

    @property
    def model(self) -> str:
        return type_name(self.config['model'])

    @property
    def kind(self) -> str:
        """Which runs it can be compared with."""
        scope = self.config.get('default_scope')
        if scope in ('mmseg', 'mmpose'):
            return {'mmseg': 'Face parsing', 'mmpose': 'Landmarks'}[scope]
        if 'teacher' in self.config['model']:
            return 'Distillation'
        return 'Diffusion models' if self.model == 'DDPMTrainer' else 'Classification'

    @property
    def start(self) -> str:
        """The checkpoint that the network started from, or ``scratch``."""
        sources = (node for _, node in walk(self.config['model']) if isinstance(node, dict) and loads_checkpoint(node))
        return next((source['checkpoint'] for source in sources if source.get('checkpoint')), 'scratch')

    @property
    def seed(self) -> int | None:
        return (self.config.get('randomness') or {}).get('seed')

    @property
    def config_file(self) -> Path | None:
        """The whole config as the run left it, for tools/train.py."""
        return next((path for path in sorted(self.folder.glob('*.py'))), None)

    @property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint, wherever the work directory lies now."""
        record = self.folder / 'last_checkpoint'
        named = [self.folder / Path(record.read_text().strip()).name] if record.is_file() else []
        numbered = sorted(self.folder.glob('*_*.pth'), key=lambda path: path.stat().st_mtime, reverse=True)
        return next((path for path in [*named, *numbered] if path.is_file()), None)

    @property
    def tree(self) -> Path:
        """The folder that its config's relative paths start from."""
        below = Path(self.config.get('work_dir') or '')
        folder = self.folder.resolve()
        if below.parts and not below.is_absolute() and folder.parts[-len(below.parts) :] == below.parts:
            return folder.parents[len(below.parts) - 1]
        return ROOT / TREES[self.config['default_scope']]

    @property
    def environment(self) -> dict[str, str]:
        """Versions and devices, as the log tells them."""
        started = max(self.folder.glob('*/vis_data/scalars.json')).parents[1]  # a test's has no scalars
        text = ''.join(path.read_text(errors='replace')[:20000] for path in started.glob('*.log'))
        found = dict(re.findall(r'^ {4}([^:\n]+): (.+)$', text, re.MULTILINE))
        return {key: found[key] for key in ENVIRONMENT if key in found}


@dataclass
class Group:
    """Repetitions of one run with several seeds.

    Attributes:
        name: The runs' common name.
        runs: At least one.
    """

    name: str
    runs: list[Run]

    @property
    def first(self) -> Run:
        return self.runs[0]


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """All runs in and below the folders.

    Raises:
        UnusableInputError: When one of the folders does not exist or has no run.
    """
    found: list[Path] = []
    for folder in folders:
        logs = sorted(folder.rglob('vis_data/scalars.json'))
        if not folder.is_dir():
            raise UnusableInputError(f'There is no folder {str(folder)!r} in {Path.cwd()}.')
        if not logs:
            raise UnusableInputError(
                f'{folder} holds no run: expected <work_dir>/<timestamp>/vis_data/scalars.json, which tools/train.py '
                'writes. Give the --work-dir of a training that has begun.'
            )
        found += [path for path in dict.fromkeys(log.parents[2].resolve() for log in logs) if path not in found]
    common = os.path.commonpath([path.parent for path in found])
    unique = len({path.name for path in found}) == len(found)
    return [Run(path, path.name if unique else os.path.relpath(path, common)) for path in found]


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Runs whose names differ only in ``seed<N>``, or whose configs differ only in the seed, are one group."""
    groups: dict[tuple, Group] = {}
    for run in runs:
        name = re.sub(r'[-_.]?seed[-_=]?\d+', '', run.name)
        settings = {key: value for key, value in run.config.items() if key not in REPETITION}
        key = (run.kind, name if name != run.name else json.dumps(settings, sort_keys=True, default=repr))
        groups.setdefault(key, Group(name, [])).runs.append(run)
    names = [group.name for group in groups.values()]
    common = {name for name in names if names.count(name) > 1}
    for group in groups.values():  # of another kind
        group.name += f' ({group.first.kind.lower()})' if group.name in common else ''
    return list(groups.values())
