"""Predictions drawn on images by the libraries' visualizers, as tools/test.py --show-dir draws them."""

import subprocess
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

from ...configs import ROOT
from ...engine.preflight import MissingDataError, check_data
from .images import as_url
from .runs import Run

NUM_IMAGES = 4
DRAWN = {'Face parsing': 'test_*.png', 'Landmarks': '*.jpg'}  # what the visualizers write


def draw_predictions(run: Run) -> list[str] | str:
    """URLs of the first test images with what the model says of them, or a sentence why there are none."""
    if run.checkpoint is None or run.config_file is None:
        return f'There is no checkpoint in {run.folder}.'
    try:
        with chdir(run.tree):
            check_data(run.config, ['test'])
    except MissingDataError as error:
        return ' '.join(str(error).split())
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / 'tools/test.py'), str(run.config_file.resolve())]
        command += [str(run.checkpoint.resolve()), '--work-dir', f'{folder}/test', '--show-dir', f'{folder}/shown']
        command += ['--cfg-options', f'test_dataloader.dataset.indices={NUM_IMAGES}', 'test_dataloader.batch_size=1']
        command += ['test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False', 'launcher=none']
        result = subprocess.run(command, cwd=run.tree, capture_output=True, text=True)
        if result.returncode:
            return f'tools/test.py failed: {_last_line(result.stderr)}'
        paths = sorted(Path(folder, 'shown').rglob(DRAWN[run.kind]))
        return [as_url(path) for path in paths]


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), 'no message')


def samples(run: Run) -> dict[str, str]:
    """Pictures that the run itself drew of its samples, the first and the last, as ``title -> URL``."""
    paths = sorted(run.folder.glob('*/vis_data/vis_image/samples_*.png'), key=_step)
    return {f'iteration {_step(path)}': as_url(path) for path in dict.fromkeys([*paths[:1], *paths[-1:]])}


def _step(path: Path) -> int:
    return int(path.stem.rpartition('_')[2])
