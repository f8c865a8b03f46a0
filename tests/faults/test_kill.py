"""SIGKILL: what was saved is there, and the run goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from runs import FROM_FILES, IN_MEMORY, TREE, Run, assert_same_weights, fault, start_two, train, train_in_two, wait_for


def test_when_one_process_is_killed_the_launcher_ends_the_others(options_of_two, whole_of_two, tmp_path):
    work_dir = tmp_path / 'run'
    config = tmp_path / 'with_faults.py'
    config.write_text(f"_base_ = '{TREE / IN_MEMORY}'\ncustom_imports = dict(imports=['mmcls', 'fault_hooks'])\n")
    command = ['bash', 'tools/dist_train.sh', config, '2', '--work-dir', work_dir, '--cfg-options']
    command += [*options_of_two, *fault('SIGKILL', 5, rank=1)]
    environment = os.environ | {'PYTHON': sys.executable, 'PYTHONPATH': str(Path(__file__).parent)}
    result = subprocess.run(command, cwd=TREE, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1, result.stderr
    assert 'Signal 9 (SIGKILL) received' in result.stderr
    train_in_two(IN_MEMORY, work_dir, options_of_two, '--resume')
    assert_same_weights(work_dir / 'epoch_2.pth', whole_of_two / 'epoch_2.pth')


def test_when_all_are_killed_the_run_goes_on_from_the_last_checkpoint(options_of_two, whole_of_two, tmp_path):
    work_dir = tmp_path / 'run'
    runs = start_two(IN_MEMORY, work_dir, [*options_of_two, *fault('wait', 5), 'train_dataloader.num_workers=1'])
    wait_for(work_dir / 'waits')
    for run in runs:
        os.killpg(run.process.pid, signal.SIGKILL)
    assert [run.end() for run in runs] == [-signal.SIGKILL] * 2
    output, _ = train_in_two(IN_MEMORY, work_dir, options_of_two, '--resume')
    assert 'Resuming after iteration 3.' in output
    assert_same_weights(work_dir / 'epoch_2.pth', whole_of_two / 'epoch_2.pth')


def test_two_runs_in_one_work_directory_are_refused_while_the_first_lives(options, whole, tmp_path):
    work_dir = tmp_path / 'run'
    first = Run(FROM_FILES, work_dir, [*options, *fault('wait', 8), 'train_dataloader.num_workers=2'])
    wait_for(work_dir / 'waits')
    log = first.log.rename(tmp_path / 'first.log')
    output = train(FROM_FILES, work_dir, options, '--resume', code=1)
    assert f'{work_dir} is the work directory of a training that still runs: process {first.process.pid} on' in output
    assert 'Traceback' not in log.read_text()

    first.process.kill()  # and not its workers, which live on for some seconds
    first.process.join()
    train(FROM_FILES, work_dir, options, '--resume')
    assert_same_weights(work_dir / 'epoch_3.pth', whole / 'epoch_3.pth')
