"""A resumed run follows the schedule of its config, and says so where that is another one."""

import copy

import pytest
from mmcls.engine import EpochPositionHook, SafeCheckpointHook, ScheduleHook
from mmengine.config import Config
from small_runner import small_runner

WARM_UP = {'type': 'LinearLR', 'start_factor': 0.1, 'by_epoch': False, 'begin': 0, 'end': 3}


def rates(work_dir, epochs, scheduler, resume=False, lr=0.01, **more):
    """The learning rate of each iteration."""
    seen = []
    settings = {'param_scheduler': scheduler, 'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': lr}}}
    runner = small_runner(
        work_dir,
        epochs=epochs,
        **copy.deepcopy(settings),
        cfg=Config(settings),
        default_hooks={'schedule': ScheduleHook(), 'checkpoint': SafeCheckpointHook(interval=1)},
        custom_hooks=[EpochPositionHook()],
        resume=resume,
        **more,
    )
    forward = runner.model.forward

    def watch(*args, **kwargs):
        seen.append(runner.optim_wrapper.param_groups[0]['lr'])
        return forward(*args, **kwargs)

    runner.model.forward = watch
    runner.train()
    return seen


def cosine(epochs, **options):
    return {'type': 'CosineAnnealingLR', 'T_max': epochs, 'by_epoch': True} | options


@pytest.mark.parametrize('short', [2, 3])
@pytest.mark.parametrize('scheduler', [
    lambda epochs: [cosine(epochs)],
    lambda epochs: [cosine(epochs, convert_to_iter_based=True)],
    lambda epochs: [WARM_UP, cosine(epochs, eta_min=1e-4)],
    lambda epochs: [{'type': 'MultiStepLR', 'milestones': [epochs - 1], 'by_epoch': True}],
])  # fmt: skip
def test_a_run_that_goes_on_for_longer_follows_the_longer_schedule(short, scheduler, tmp_path):
    whole = rates(tmp_path / 'whole', 5, scheduler(5))
    first = rates(tmp_path / 'run', short, scheduler(short))
    rest = rates(tmp_path / 'run', 5, scheduler(5), resume=True)
    assert len(first) + len(rest) == len(whole) == 20
    assert rest == pytest.approx(whole[len(first) :], rel=1e-6)


def test_another_learning_rate_is_followed(tmp_path):
    whole = rates(tmp_path / 'whole', 4, [cosine(4)], lr=0.5)
    rates(tmp_path / 'run', 2, [cosine(4)])
    assert rates(tmp_path / 'run', 4, [cosine(4)], resume=True, lr=0.5) == pytest.approx(whole[8:])


@pytest.mark.parametrize('schedule', [
    [cosine(4, convert_to_iter_based=True)],
    [{'type': 'CosineAnnealingLR', 'T_max': 8, 'by_epoch': False}],
    [cosine(4)],
])  # fmt: skip
def test_with_another_batch_the_iterations_follow_the_epochs(tmp_path, schedule):
    whole = rates(tmp_path / 'whole', 4, schedule, train={'batch_size': 4})
    rates(tmp_path / 'run', 2, schedule)
    rest = rates(tmp_path / 'run', 4, schedule, resume=True, train={'batch_size': 4})
    assert rest == pytest.approx(whole[4:])


def test_the_same_schedule_goes_on_without_a_word(tmp_path, capsys):
    whole = rates(tmp_path / 'whole', 4, [WARM_UP, cosine(4)])
    rates(tmp_path / 'run', 2, [WARM_UP, cosine(4)])
    assert rates(tmp_path / 'run', 4, [WARM_UP, cosine(4)], resume=True) == whole[8:]
    assert 'another schedule' not in capsys.readouterr().out


def test_with_another_batch_gradients_are_accumulated_from_the_right_iteration(tmp_path):
    def run(epochs, **more):
        settings = {'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': 0.01}, 'accumulative_counts': 2}}
        hooks = {'checkpoint': SafeCheckpointHook(interval=1)}
        runner = small_runner(
            tmp_path, epochs=epochs, default_hooks=hooks, custom_hooks=[EpochPositionHook()], **settings, **more
        )
        runner.train()
        return runner.iter

    assert run(3) == 12
    assert run(5, resume=True, train={'batch_size': 4}) == 10


def test_a_rate_that_was_scaled_goes_on_scaled(tmp_path):
    scaled = {'auto_scale_lr': {'enable': True, 'base_batch_size': 4}}
    whole = rates(tmp_path / 'whole', 4, [cosine(4)], **scaled)
    rates(tmp_path / 'run', 2, [cosine(4)], **scaled)
    assert whole[0] == 0.005
    assert rates(tmp_path / 'run', 4, [cosine(4)], resume=True, **scaled) == pytest.approx(whole[8:])


def test_a_schedule_that_follows_a_metric_goes_on_where_it_was(tmp_path, capsys):
    schedule = [{'type': 'ReduceOnPlateauLR', 'monitor': 'score', 'rule': 'greater', 'patience': 0}]
    begun = rates(tmp_path, 3, schedule, scores=[{'score': 3}, {'score': 2}, {'score': 1}])
    assert begun[-2] == pytest.approx(0.001)  # of the last iteration, before the checkpoint and the last validation
    rest = rates(tmp_path, 4, schedule, resume=True, scores=[{'score': 0}])
    assert rest[0] == pytest.approx(0.001)
    assert 'another schedule' not in capsys.readouterr().out
