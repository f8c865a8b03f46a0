"""What sbatch_train.sh does as a run ends. Stand-ins for srun and scontrol, as Slurm itself leaves a run 30 seconds."""

import os
import signal
import subprocess
import sys

import pytest
from small_cluster import wait_for
from support import ROOT

SAVES_WHEN_TOLD = """
trap 'sleep 1; touch saved; exit 85' USR1
touch started
for i in {1..300}; do sleep 0.1; done
"""
REQUEUES = """
echo "$@" >requeued
ls saved >>requeued
"""


@pytest.fixture
def start(tmp_path):
    """``start(srun)`` starts the batch script, for which ``srun`` is that script."""

    def start(srun: str) -> subprocess.Popen:
        for name, script in (('srun', srun), ('scontrol', REQUEUES)):
            (tmp_path / name).write_text(f'#!/usr/bin/env bash\ncd {tmp_path}\n{script}')
            (tmp_path / name).chmod(0o755)
        env = os.environ | {'PATH': f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', 'PYTHON': sys.executable}
        env |= {'SLURM_JOB_ID': '41', 'SLURM_SUBMIT_DIR': str(ROOT / 'classification_distill')}
        return subprocess.Popen(['bash', ROOT / 'tools' / 'sbatch_train.sh', 'config.py'], env=env)

    return start


def test_the_job_is_queued_again_once_the_run_has_saved(start, tmp_path):
    script = start(SAVES_WHEN_TOLD)
    wait_for((tmp_path / 'started').exists, 30, 'the run')
    script.send_signal(signal.SIGUSR1)
    assert script.wait(30) == 0
    assert (tmp_path / 'requeued').read_text() == 'requeue 41\nsaved\n'


def test_a_run_that_fails_is_not_queued_again(start, tmp_path):
    assert start('exit 3').wait(30) == 3
    assert not (tmp_path / 'requeued').exists()
