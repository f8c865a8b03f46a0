"""The scripts for Slurm in the folders of face parsing and landmarks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from downstream.small_faces import write_celebamask_hq, write_wflw
from small_cluster import output, wait_for
from support import ROOT

FACE_PARSING = 'configs/demo_faces/bisenetv1_r18_128x128_demofaces_baseline.py'
LANDMARKS = 'configs/demo_faces/hrnet_128x128_demofaces_baseline.py'
ONE_ITERATION = [
    '--cfg-options',
    'train_cfg.max_iters=1',
    'train_cfg.val_interval=2',
    'train_dataloader.batch_size=2',
    'default_hooks.checkpoint.interval=1',
]


@pytest.fixture(scope='module')
def trees(tmp_path_factory) -> Path:
    """The two trees, with a few small faces for data."""
    folder = tmp_path_factory.mktemp('trees')
    for write in (write_celebamask_hq, write_wflw):
        write(folder / 'data' / 'demo_faces', size=128)
    for tree in ('segmentation', 'landmark'):
        (folder / tree).mkdir()
        (folder / tree / 'data').symlink_to(folder / 'data')
        for name in ('configs', 'tools'):
            (folder / tree / name).symlink_to(ROOT / tree / name)
    return folder


def run(*command, env: dict[str, str]) -> str:
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, (result.stdout + result.stderr)[-5000:]
    return result.stdout


def test_face_parsing_trains_and_is_tested(slurm, trees, tmp_path, monkeypatch):
    monkeypatch.chdir(trees / 'segmentation')
    env = slurm | {'PYTHON': sys.executable, 'GPUS': '1', 'CPUS_PER_TASK': '1'}
    run('bash', 'tools/slurm_train.sh', 'cpu', 'train', FACE_PARSING, tmp_path, *ONE_ITERATION, env=env)
    arguments = ['--work-dir', tmp_path, '--out', tmp_path / 'metrics.json']
    run('bash', 'tools/slurm_test.sh', 'cpu', 'test', FACE_PARSING, tmp_path / 'iter_1.pth', *arguments, env=env)
    assert 'mIoU' in json.loads((tmp_path / 'metrics.json').read_text())


def test_landmarks_train_in_a_batch_job(slurm, trees, tmp_path, monkeypatch):
    monkeypatch.chdir(trees / 'landmark')
    command = ['sbatch', '--parsable', '--partition=cpu', '--gres=none', '--ntasks-per-node=1', '--cpus-per-task=1']
    command += [f'--output={tmp_path}/out', 'tools/sbatch_train.sh', LANDMARKS, tmp_path / 'run', *ONE_ITERATION]
    job = run(*command, env=slurm | {'PYTHON': sys.executable}).strip()
    wait_for(lambda: not output('squeue', '-h', '-j', job, env=slurm), 300, 'the end of the job')
    assert (tmp_path / 'run' / 'iter_1.pth').is_file(), (tmp_path / 'out').read_text()[-5000:]
