"""Every code block of the README and the docs runs, page by page, in a copy of the repository with small data."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs.blocks import PAGES, read_blocks
from hub_server import hub
from small_trees import write_data, write_teachers
from support import ROOT

FOLDERS = ('classification_distill', 'segmentation', 'landmark', 'tools', 'tests', 'docs', 'students')
MODEL = 'google/ddpm-cifar10-32'
DIGITS = 64  # of each split: then an epoch is an iteration
HAS_COMMANDS = [page for page in PAGES if any(block.runs and block.language == 'bash' for block in read_blocks(page))]


@pytest.fixture(scope='session')
def teachers(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('teachers')
    write_teachers(folder)
    return folder


@pytest.fixture
def checkout(tmp_path) -> Path:
    folder = tmp_path / 'RepFusion'
    unwanted = shutil.ignore_patterns('work_dirs', '__pycache__', '*.egg-info')
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=unwanted)
    shutil.copy(ROOT / 'pyproject.toml', folder)
    write_data(folder / 'data')
    for file in (folder / 'data/digits/meta').iterdir():
        file.write_text(''.join(file.read_text().splitlines(keepends=True)[:DIGITS]))
    return folder


@pytest.mark.parametrize('page', HAS_COMMANDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page, checkout, teachers, tmp_path):
    commands = []
    for block in read_blocks(page):
        if block.runs and block.language == 'python':
            block.write(checkout)
        elif block.runs:
            commands.append(f': line {block.line} of {page.name}\n{block.code_of_test}')
    with hub(teachers / MODEL, MODEL) as (endpoint, _):
        environment = os.environ | {
            'HF_ENDPOINT': endpoint,
            'HF_HOME': str(tmp_path / 'hub'),
            'OMP_NUM_THREADS': '1',
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
            'PYTHON': sys.executable,
        }
        script = ['bash', '-euxo', 'pipefail', '-c', '\n'.join(commands)]
        done = subprocess.run(script, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f'{done.stdout[-2000:]}\n{done.stderr[-4000:]}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_block_that_is_not_run_names_the_test_that_runs_its_parts(page):
    for block in read_blocks(page):
        assert block.language in ('bash', 'python', 'text'), f'line {block.line}: which language?'
        if block.not_run:
            tests = re.findall(r'tests/\S+\.py', block.not_run)
            assert tests, f'line {block.line}: {block.not_run}'
            assert all((ROOT / test).is_file() for test in tests), block.not_run
