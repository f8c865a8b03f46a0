"""Losses and rewards that are not finite."""

import torch
from runs import FROM_FILES, IN_MEMORY, assert_same_weights, fault, train, train_in_two, weights


def test_a_loss_that_is_not_finite_stops_the_run_and_is_kept(options, whole, tmp_path, digits):
    work_dir = tmp_path / 'run'
    output = train(FROM_FILES, work_dir, options + fault('no_number', 8), code=1)
    message = output[output.index('NonFiniteError') :]
    assert 'at iteration 8' in message
    assert 'loss_task is [nan]' in message
    assert 'reward is [nan]' in message
    assert 'loss_distill' not in message
    assert 'tensors of weights' not in message

    kept = torch.load(work_dir / 'non_finite_iter_8_rank0.pth', weights_only=True)
    assert len(kept['batch']['inputs']) == len(kept['timesteps']) == 16
    paths = [sample['img_path'] for sample in kept['batch']['data_samples']]
    assert all(path.startswith(str(digits)) and path in message for path in paths)
    assert kept['values']['reward'].isnan()

    before = torch.load(work_dir / 'non_finite_iter_8.pth', weights_only=False)
    assert before['meta']['iter'] == 7
    assert all(value.isfinite().all() for key, value in before['state_dict'].items() if 'reward_mean' not in key)
    checkpoint = str(work_dir / 'non_finite_iter_8.pth')
    output = train(FROM_FILES, work_dir, options + fault('no_number', 8), '--resume', checkpoint, code=1)
    again = torch.load(work_dir / 'non_finite_iter_8_rank0.pth', weights_only=True)
    assert 'at iteration 8' in output
    assert torch.equal(again['timesteps'], kept['timesteps'])
    assert [sample['img_path'] for sample in again['batch']['data_samples']] == paths

    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / 'epoch_1.pth')
    train(FROM_FILES, work_dir, options, '--resume')
    assert_same_weights(work_dir / 'epoch_3.pth', whole / 'epoch_3.pth')


def test_all_processes_stop_or_skip_together(options, tmp_path):
    options = [*options, 'train_cfg.max_epochs=1']
    for output in train_in_two(IN_MEMORY, tmp_path / 'stops', options + fault('no_number', 2, rank=1), code=1):
        assert 'Rank 1: loss_task is [nan]' in output
        assert 'Rank 0:' not in output
    kept = {path.name for path in (tmp_path / 'stops').glob('*.pth')}
    assert kept == {'non_finite_iter_2.pth', 'non_finite_iter_2_rank1.pth'}

    skip = ['default_hooks.finite_loss.max_skipped=1']
    output, _ = train_in_two(IN_MEMORY, tmp_path / 'skips', options + fault('no_number', 2, rank=1) + skip)
    assert 'The step is skipped, 1 in a row' in output
    assert all(value.isfinite().all() for value in weights(tmp_path / 'skips' / 'epoch_1.pth').values())


def test_weights_that_are_spoilt_are_told_from_a_batch_that_is(options, tmp_path):
    skip = ['default_hooks.finite_loss.max_skipped=1']
    output = train(FROM_FILES, tmp_path / 'run', options + fault('spoil', 2) + skip, code=1)
    assert 'at iteration 3' in output
    assert 'The step is skipped, 1 in a row' in output
    assert 'at iteration 4' in output
    assert '1 tensors of weights are not finite' in output
    assert 'an earlier step spoilt them' in output


def test_weights_that_are_spoilt_are_not_saved(options, whole, tmp_path):
    work_dir = tmp_path / 'run'
    spoil = fault('spoil', 12)  # the last of the second epoch: no further loss tells
    output = train(FROM_FILES, work_dir, options + spoil, code=1)
    assert 'No checkpoint is saved at iteration 12: 1 tensors of weights are not finite' in output
    assert [path.name for path in work_dir.glob('*.pth')] == ['epoch_1.pth']
    train(FROM_FILES, work_dir, options, '--resume')
    assert_same_weights(work_dir / 'epoch_3.pth', whole / 'epoch_3.pth')
