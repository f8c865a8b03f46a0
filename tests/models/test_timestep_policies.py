"""The policies; REINFORCE on a planted problem, where the right timesteps are known."""

import pytest
import torch
from mmcls.models.timestep_policies import TimestepSample
from mmcls.models.timestep_policies.decaying import DecayingPolicy
from mmcls.models.timestep_policies.fixed import FixedPolicy
from mmcls.models.timestep_policies.reinforce import ReinforcePolicy
from mmcls.models.timestep_policies.uniform import UniformPolicy
from mmpretrain.registry import MODELS
from planted_windows import share_in_window, train


@pytest.mark.parametrize(('is_rewarded', 'steps'), [(True, 600), (False, 100)])
def test_learns_the_window_of_each_image(is_rewarded, steps):
    torch.manual_seed(10)  # as published (timesteps=None, entropy_weight=0.1), this one takes one window for all
    policy = ReinforcePolicy(image_size=16)
    train(policy, is_rewarded, steps)
    assert (share_in_window(policy) >= 0.97) == is_rewarded


def test_policy_has_defaults_and_starts_uniform():
    policy = MODELS.build({'type': 'ReinforcePolicy', 'entropy_weight': 0.1})
    probs = policy.distribution(torch.rand(2, 3, 32, 32)).probs
    assert torch.allclose(probs, torch.full((2, 20), 0.05))


def test_number_of_strides_follows_the_image_size():
    for size, strides in ((8, 1), (32, 3), (256, 6)):
        net = ReinforcePolicy(image_size=size).net
        assert sum(getattr(layer, 'stride', 1) == (2, 2) for layer in net) == strides
        assert net(torch.zeros(1, 3, size, size)).shape == (1, 20)


def test_coarser_grid():
    policy = ReinforcePolicy(timesteps=10, image_size=8)
    assert policy.grid.tolist() == list(range(0, 1000, 100))
    assert set(policy.sample(torch.rand(200, 3, 8, 8)).t.tolist()) <= set(range(0, 1000, 100))
    assert ReinforcePolicy(timesteps=None, image_size=8).grid.tolist() == list(range(1000))
    assert ReinforcePolicy(image_size=8, num_timesteps=10).grid.tolist() == list(range(10))
    with pytest.raises(ValueError, match='timesteps=1: expected 2 to 1000'):
        ReinforcePolicy(timesteps=1)


@pytest.mark.parametrize('share', [0, -0.5, 1.5])
def test_schedules_end_within_the_training(share):
    for build in (lambda: ReinforcePolicy(entropy_decay_until=share), lambda: DecayingPolicy(decay_until=share)):
        with pytest.raises(ValueError, match=f'decay_until={share}: expected a share of the training'):
            build()


def test_loss_is_the_policy_gradient_with_a_running_baseline():
    policy = ReinforcePolicy(entropy_weight=0.5, baseline_momentum=0.1, image_size=8)
    sample = TimestepSample(torch.zeros(2), log_prob=torch.tensor([-1.0, -2.0]), entropy=torch.tensor([3.0, 5.0]))
    first = policy.loss(sample, torch.tensor([1.0, 3.0]))  # baseline 2, their own mean
    assert first['loss_policy'].item() == pytest.approx(-((1 - 2) * -1 + (3 - 2) * -2) / 2)
    assert first['loss_entropy'].item() == pytest.approx(-0.5 * 4)
    policy.loss(sample, torch.tensor([12.0, 12.0]))  # baseline moves to 0.9 * 2 + 0.1 * 12
    third = policy.loss(sample, torch.tensor([4.0, 4.0]))
    assert third['loss_policy'].item() == pytest.approx(-((4 - 3) * -1 + (4 - 3) * -2) / 2)
    plain = ReinforcePolicy(baseline='none', image_size=8).loss(sample, torch.tensor([1.0, 3.0]))
    assert plain['loss_policy'].item() == pytest.approx(-(1 * -1 + 3 * -2) / 2)


def test_entropy_weight_decays():
    policy = ReinforcePolicy(entropy_weight=0.2, entropy_decay_until=0.5, image_size=8)
    weights = []
    for progress in (0, 0.25, 0.5, 1):
        policy.set_progress(progress)
        weights.append(policy.entropy_weight)
    assert weights == pytest.approx([0.2, 0.1, 0, 0])


def test_evaluation_takes_the_most_probable_timestep():
    policy = ReinforcePolicy(image_size=8).eval()
    policy.net[-1].bias.data[7] = 1
    assert policy.sample(torch.rand(5, 3, 8, 8)).t.tolist() == [350] * 5


def test_policies_that_do_not_learn():
    images = torch.zeros(500, 3, 8, 8)
    assert FixedPolicy(timestep=7).sample(images).t.unique().tolist() == [7]
    t = UniformPolicy(max_timestep=50).sample(images).t
    assert 0 <= t.min() < 5
    assert 45 < t.max() < 50
    assert t.dtype == torch.int64
    decaying = DecayingPolicy(start=1000, stop=100, decay_until=0.5)
    decaying.set_progress(0.25)
    assert decaying.num_drawn == 550
    decaying.set_progress(0.9)
    assert decaying.sample(images).t.max() < 100
    loaded = DecayingPolicy(start=1000, stop=100, decay_until=0.5).eval()
    assert loaded.sample(images).t.unique().tolist() == [500]
    loaded.load_state_dict(decaying.state_dict())
    assert loaded.sample(images).t.unique().tolist() == decaying.eval().sample(images).t.unique().tolist() == [50]


def test_timesteps_can_be_listed():
    images = torch.zeros(200, 3, 8, 8)
    uniform = UniformPolicy(timesteps=[60, 20, 140])
    assert uniform.grid.tolist() == [20, 60, 140]
    assert uniform.sample(images).t.unique().tolist() == [20, 60, 140]
    assert uniform.eval().sample(images).t.unique().tolist() == [60]
    chosen = ReinforcePolicy(timesteps=[140, 20], image_size=8)
    assert chosen.sample(images).t.unique().tolist() == [20, 140]
    assert chosen.distribution(images).probs.shape == (200, 2)


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: UniformPolicy(max_timestep=50, timesteps=[3]), 'give one of the two'),
        (lambda: UniformPolicy(timesteps=[]), 'list at least one'),
        (lambda: ReinforcePolicy(timesteps=[5, 5]), 'expected 2 to 1000'),
    ],
)
def test_lists_of_timesteps_that_say_nothing_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    'build',
    [
        lambda: FixedPolicy(1000),
        lambda: UniformPolicy(1001),
        lambda: UniformPolicy(timesteps=[20, 1000]),
        lambda: DecayingPolicy(stop=0),
    ],
)
def test_timesteps_out_of_range_are_refused(build):
    with pytest.raises(ValueError, match='is not a timestep'):
        build()


def test_a_range_that_would_grow_is_refused():
    with pytest.raises(ValueError, match='stop=300: expected at most start, 200'):
        DecayingPolicy(start=200, stop=300)
