"""Damaged checkpoints and a full disk: the last good checkpoint counts."""

import os
import subprocess

import pytest
import torch
from mmcls.engine.checkpoints import AtomicBackend
from runs import FROM_FILES, assert_same_weights, train, train_in_two, weights


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b'')


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ('damage', 'message'), [(truncate, 'it is truncated'), (empty, 'it is empty'), (flip, 'the checksum of')]
)
def test_the_checkpoint_before_a_damaged_one_is_used(options, whole, copied, damage, message):
    damage(copied / 'epoch_3.pth')
    output = train(FROM_FILES, copied, options, '--resume')
    assert f'The checkpoint {copied / "epoch_3.pth"} cannot be used: {message}' in output
    log = max(copied.glob('*/*.log')).read_text()
    assert f'{copied / "epoch_3.pth"} cannot be used' in log
    assert_same_weights(copied / 'epoch_3.pth', whole / 'epoch_3.pth')


def test_a_damaged_checkpoint_that_was_asked_for_is_an_error(options, copied):
    truncate(copied / 'epoch_3.pth')
    output = train(FROM_FILES, copied, options, '--resume', str(copied / 'epoch_3.pth'), code=1)
    assert f'--resume {copied / "epoch_3.pth"}: the checkpoint cannot be used: it is truncated' in output
    output = train(FROM_FILES, copied, [*options, f'load_from={copied / "epoch_3.pth"}'], code=1)
    assert f"load_from='{copied / 'epoch_3.pth'}': the checkpoint cannot be used" in output
    empty(copied / 'epoch_2.pth')
    output = train(FROM_FILES, copied, options, '--resume', code=1)
    assert f'None in {copied} can be used' in output


def test_without_its_pointer_the_newest_checkpoint_is_found(options, whole, copied):
    (copied / 'last_checkpoint').unlink()
    (copied / 'epoch_3.pth').unlink()
    (copied / 'epoch_9.pth.partial').touch()  # of a kill while it was written
    assert 'Resuming after iteration 12.' in train(FROM_FILES, copied, options, '--resume')
    assert_same_weights(copied / 'epoch_3.pth', whole / 'epoch_3.pth')
    assert not list(copied.glob('*.partial'))


def test_a_kill_while_a_file_is_written_leaves_the_old_one(tmp_path, monkeypatch):
    def kill(descriptor):
        raise KeyboardInterrupt

    path = tmp_path / 'last_checkpoint'
    backend = AtomicBackend()
    backend.put(b'old', path)
    monkeypatch.setattr(os, 'fsync', kill)
    with pytest.raises(KeyboardInterrupt):
        backend.put(b'new', path)
    assert path.read_bytes() == b'old'


@pytest.fixture
def small_disk(whole, tmp_path):
    """A file system with room for one checkpoint and a half, and the logs."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    size = (whole / 'epoch_3.pth').stat().st_size * 3 // 2 + 300_000
    mount = ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)]
    result = subprocess.run(mount, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f'A small file system cannot be mounted here: {result.stderr.strip()}')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)


def test_a_full_disk_ends_the_run_and_the_last_checkpoint_is_whole(options, whole, small_disk):
    work_dir = small_disk / 'run'
    options = [*options, 'default_hooks.checkpoint.max_keep_ckpts=1']
    output = train(FROM_FILES, work_dir, options, code=1)
    assert f'No space left on device: {work_dir / "epoch_2.pth"} was not written' in output
    assert [path.name for path in work_dir.glob('*.pth*')] == ['epoch_1.pth']
    assert weights(work_dir / 'epoch_1.pth')
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / 'epoch_1.pth')

    subprocess.run(['mount', '-o', 'remount,size=100M', str(small_disk)], check=True)
    train(FROM_FILES, work_dir, options, '--resume')
    assert_same_weights(work_dir / 'epoch_3.pth', whole / 'epoch_3.pth')
    assert [path.name for path in work_dir.glob('*.pth*')] == ['epoch_3.pth']


@pytest.mark.parametrize(('run', 'iterations'), [(train, 6), (train_in_two, 3)])
def test_without_a_seed_a_run_goes_on_with_the_draws_of_the_one_before(options, tmp_path, run, iterations):
    every = {'by_epoch': False, 'interval': iterations - 1, 'max_keep_ckpts': 9}
    settings = [f'default_hooks.checkpoint.{key}={value}' for key, value in every.items()]
    settings = [*options, *settings, 'randomness.seed=None', 'train_cfg.max_epochs=2']
    run(FROM_FILES, tmp_path / 'whole', settings)
    within_epoch = tmp_path / f'whole/iter_{iterations - 1}.pth'
    settings.append('randomness.seed=7')  # these processes are forked from one, and would draw the same seed
    run(FROM_FILES, tmp_path / 'resumed', settings, '--resume', str(within_epoch))
    whole, resumed = (trained(tmp_path / name / f'iter_{2 * iterations}.pth') for name in ('whole', 'resumed'))
    torch.testing.assert_close(whole, resumed, atol=1e-6, rtol=1e-5)


def trained(checkpoint):
    """The weights without running statistics, of which the checkpoint holds the first process's only."""
    return {key: value for key, value in weights(checkpoint).items() if 'running_' not in key}
