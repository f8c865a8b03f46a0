"""SIGTERM, SIGUSR1 and Ctrl-C: nothing that was trained is lost."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmcls.engine.stopping import EXIT_CODE, SECOND
from runs import FROM_FILES, IN_MEMORY, TREE, Run, assert_same_weights, fault, train, train_in_two, wait_for

FINETUNE = 'configs/baseline/r18_b64_digits_finetune.py'


def interrupted(work_dir):
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / 'interrupted.pth')
    return torch.load(work_dir / 'interrupted.pth', weights_only=False)['meta']


@pytest.mark.parametrize(
    ('name', 'iteration'), [('SIGTERM', 8), ('SIGUSR1', 6), ('SIGINT', 7)]
)  # within and at the end of an epoch
def test_a_signal_saves_and_resuming_ends_in_the_same_weights(options, whole, tmp_path, name, iteration):
    work_dir = tmp_path / 'run'
    output = train(FROM_FILES, work_dir, options + fault(name, iteration), code=EXIT_CODE)
    assert f'{"Ctrl-C" if name == "SIGINT" else name}: stopped after iteration {iteration};' in output
    assert 'Traceback' not in output
    assert interrupted(work_dir)['iter'] == iteration
    workers = ['train_dataloader.num_workers=2']  # draw what the main process would have drawn
    train(FROM_FILES, work_dir, options + workers, '--resume')
    # Within the same second it goes on with the same file.
    log = max(work_dir.glob('*/*.log')).read_text().rpartition('Resuming after iteration')[2]
    logged = re.findall(r'Epoch\(train\) +\[(\d)\]\[(\d)/6\]', log)
    assert logged == [(str(i // 6 + 1), str(i % 6 + 1)) for i in range(iteration, 18)]
    assert_same_weights(work_dir / 'epoch_3.pth', whole / 'epoch_3.pth')
    assert sorted(path.name for path in work_dir.glob('*.pth')) == ['epoch_2.pth', 'epoch_3.pth']


def test_a_run_stopped_by_the_last_batch_of_an_epoch_goes_on_with_what_ends_the_epoch(options, tmp_path):
    options = [*options, 'train_cfg.val_interval=1', 'custom_hooks=[]', 'train_cfg.max_epochs=2']
    picture = ['default_hooks.picture.type=FeaturePictureHook', 'default_hooks.picture.interval=1']
    work_dir = tmp_path / 'run'
    train(FROM_FILES, work_dir, options + picture + fault('SIGUSR1', 6), code=EXIT_CODE)
    train(FROM_FILES, work_dir, options + picture, '--resume')
    scalars = [json.loads(line) for path in work_dir.glob('*/vis_data/scalars.json') for line in path.open()]
    assert [row['step'] for row in scalars if 'accuracy/top1' in row] == [1, 2]


def test_a_signal_to_all_processes_of_a_run_with_workers(options, whole, tmp_path):
    work_dir = tmp_path / 'run'
    run = Run(FROM_FILES, work_dir, [*options, *fault('wait', 8), 'train_dataloader.num_workers=2'])
    wait_for(work_dir / 'waits')
    os.killpg(run.process.pid, signal.SIGTERM)
    (work_dir / 'go').touch()
    assert run.end() == EXIT_CODE, run.output
    assert interrupted(work_dir)['iter'] == 8
    train(FROM_FILES, work_dir, options, '--resume')
    assert_same_weights(work_dir / 'epoch_3.pth', whole / 'epoch_3.pth')


def test_a_second_ctrl_c_ends_the_run_at_once(options, tmp_path):
    work_dir = tmp_path / 'run'
    run = Run(FROM_FILES, work_dir, [*options, *fault('wait', 8)])
    wait_for(work_dir / 'waits')
    for _ in range(2):
        os.kill(run.process.pid, signal.SIGINT)
        time.sleep(SECOND + 0.3)
    assert run.end(20) == 1
    assert 'A second Ctrl-C: stopped at once' in run.output
    assert 'Traceback' not in run.output
    assert [path.name for path in work_dir.glob('*.pth')] == ['epoch_1.pth']


def test_a_signal_to_one_of_two_processes_stops_both(options_of_two, whole_of_two, tmp_path):
    work_dir = tmp_path / 'run'
    train_in_two(IN_MEMORY, work_dir, options_of_two + fault('SIGUSR1', 4, rank=1), code=EXIT_CODE)
    assert interrupted(work_dir)['iter'] == 5  # told in iteration 4, both know of it in the next
    train_in_two(IN_MEMORY, work_dir, options_of_two, '--resume')
    assert_same_weights(work_dir / 'epoch_2.pth', whole_of_two / 'epoch_2.pth')


def test_a_signal_to_the_launcher_reaches_the_run(options, tmp_path):
    work_dir = tmp_path / 'run'
    command = ['bash', 'tools/dist_train.sh', IN_MEMORY, '1', '--work-dir', work_dir, '--cfg-options', *options]
    command += ['train_cfg.max_epochs=100']
    environment = os.environ | {'PYTHON': sys.executable}
    with (tmp_path / 'log').open('w') as log:
        launcher = subprocess.Popen(command, cwd=TREE, env=environment, stdout=log, stderr=log)
        try:
            wait_for(work_dir / 'epoch_1.pth')
            launcher.send_signal(signal.SIGUSR1)
            assert launcher.wait(60) == 1
        finally:
            launcher.terminate()
    assert 'SIGUSR1: stopped after iteration' in (tmp_path / 'log').read_text()
    assert interrupted(work_dir)['iter'] >= 6


def test_an_iteration_based_run_stops_after_an_optimizer_step(options, tmp_path):
    options = [option for option in options if not option.startswith(('model.teacher', 'train_cfg'))] + [
        'model.head.in_channels=32',
        'train_cfg.max_iters=12',
        'train_cfg.val_interval=3',
        'default_hooks.checkpoint.interval=12',
        'optim_wrapper.accumulative_counts=2',
        'train_dataloader.num_workers=1',
    ]
    train(FINETUNE, tmp_path / 'whole', options)
    work_dir = tmp_path / 'run'
    train(FINETUNE, work_dir, options + fault('SIGTERM', 7), code=EXIT_CODE)
    assert interrupted(work_dir)['iter'] == 8
    train(FINETUNE, work_dir, [*options, 'train_dataloader.num_workers=2'], '--resume')
    assert_same_weights(work_dir / 'iter_12.pth', tmp_path / 'whole' / 'iter_12.pth')


def test_an_epoch_of_other_batches_begins_anew(options, tmp_path):
    work_dir = tmp_path / 'run'
    train(FROM_FILES, work_dir, options + fault('SIGTERM', 8), code=EXIT_CODE)
    output = train(FROM_FILES, work_dir, [*options, 'train_dataloader.batch_size=32'], '--resume')
    assert (
        'An epoch now has 3 batches of 32 images in 1 processes. The 8 iterations of the checkpoint are counted as 3, '
        'and epoch 2 begins anew: it was saved in one of 6 batches of 16 images in 1 processes.'
    ) in output
    assert torch.load(work_dir / 'epoch_2.pth', weights_only=False)['meta']['iter'] == 6


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGUSR1', 'SIGINT'])
def test_before_training_a_signal_ends_the_run_at_once(options, tmp_path, name):
    train(FROM_FILES, tmp_path / 'run', options + fault(name, 0), code=85)  # as the docs have it
    assert not list((tmp_path / 'run').glob('*.pth'))
