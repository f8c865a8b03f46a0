"""What a run does on a GPU without waiting for it; where it can be, it is tried on a CPU."""

from types import SimpleNamespace

import pytest
import torch
from mmcls.engine import DeferredLogHook, FiniteLossHook, OptimizerLayoutHook, SafeCheckpointHook
from mmcls.engine.checkpoints import NonFiniteError
from mmcls.engine.gpu import use_gpu_defaults
from mmengine.config import Config
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmpretrain.registry import OPTIM_WRAPPERS
from small_runner import small_runner


def train(work_dir, hook, **settings):
    hooks = {'runtime_info': hook, 'logger': LoggerHook(interval=3), **settings}
    torch.manual_seed(0)
    runner = small_runner(work_dir, images=16, epochs=2, default_hooks=hooks, randomness={'seed': 0})
    runner.train()
    return runner


def test_losses_reach_the_log_as_mmengine_hands_them(tmp_path):
    ours, theirs = (train(tmp_path / type(hook).__name__, hook) for hook in (DeferredLogHook(), RuntimeInfoHook()))
    expected, _ = theirs.message_hub.log_scalars['train/loss'].data
    values, _ = ours.message_hub.log_scalars['train/loss'].data
    assert len(expected) == 16
    assert values == pytest.approx(expected, rel=1e-6)


def test_losses_wait_until_somebody_asks(tmp_path):
    hook = DeferredLogHook()
    seen = []

    class Watch(LoggerHook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append(len(runner.message_hub.log_scalars['train/loss'].data[0]) if batch_idx >= 2 else 0)

    hooks = {'runtime_info': hook, 'logger': Watch(interval=3)}
    small_runner(tmp_path, images=16, epochs=1, default_hooks=hooks).train()
    assert seen == [0, 0, 3, 3, 3, 6, 6, 8]


def test_a_checkpoint_holds_the_losses_of_the_steps_before_it(tmp_path):
    checkpoint = SafeCheckpointHook(interval=5, by_epoch=False)
    train(tmp_path, DeferredLogHook(), checkpoint=checkpoint)
    saved = torch.load(tmp_path / 'iter_5.pth', weights_only=False)
    assert len(saved['message_hub']['log_scalars']['train/loss'].data[0]) == 5


@pytest.mark.parametrize('fused', [True, False])
def test_a_step_that_is_not_finite_changes_nothing(fused, tmp_path):
    runner = small_runner(tmp_path, default_hooks={'finite_loss': FiniteLossHook()})
    runner.optim_wrapper = runner.build_optim_wrapper(
        {'optimizer': {'type': 'SGD', 'lr': 0.01, 'momentum': 0.9, 'fused': fused}}
    )
    forward = runner.model.forward
    before = {}

    def spoil(*args, **kwargs):
        losses = forward(*args, **kwargs)
        if runner.iter == 5:
            before.update({name: value.clone() for name, value in runner.model.state_dict().items()})
            losses['loss'] = losses['loss'] * float('nan')
        return losses

    runner.model.forward = spoil
    with pytest.raises(NonFiniteError, match='at iteration 6'):
        runner.train()
    assert all(torch.equal(value, before[name]) for name, value in runner.model.state_dict().items())
    saved = torch.load(tmp_path / 'non_finite_iter_6.pth', weights_only=False)
    assert saved['meta']['iter'] == 5
    assert all(torch.equal(value, before[name]) for name, value in saved['state_dict'].items())
    assert not hasattr(runner.optim_wrapper.optimizer, 'found_inf')


def test_a_fused_optimizer_goes_on_after_steps_that_are_left_out(tmp_path):
    runner = small_runner(tmp_path, default_hooks={'finite_loss': FiniteLossHook(max_skipped=2)})
    runner.optim_wrapper = runner.build_optim_wrapper({'optimizer': {'type': 'SGD', 'lr': 0.01, 'fused': True}})
    forward, weights = runner.model.forward, []

    def spoil(*args, **kwargs):
        losses = forward(*args, **kwargs)
        weights.append(runner.model.layer.weight.item())
        if runner.iter in (3, 4):
            losses['loss'] = losses['loss'] * float('nan')
        return losses

    runner.model.forward = spoil
    runner.train()
    assert len(weights) == 12
    assert weights[3] == weights[4] == weights[5] != weights[6]
    assert runner.model.layer.weight.isfinite().all()


def test_a_first_step_that_is_left_out_leaves_no_momentum(tmp_path):
    runner = small_runner(tmp_path, default_hooks={'finite_loss': FiniteLossHook(max_skipped=1)})
    runner.optim_wrapper = runner.build_optim_wrapper(
        {'optimizer': {'type': 'SGD', 'lr': 0.01, 'momentum': 0.9, 'fused': True}}
    )
    forward = runner.model.forward

    def spoil(*args, **kwargs):
        losses = forward(*args, **kwargs)
        return {'loss': losses['loss'] * float('nan')} if runner.iter == 0 else losses

    runner.model.forward = spoil
    runner.train()
    momentum = [state['momentum_buffer'] for state in runner.optim_wrapper.optimizer.state.values()]
    assert all(value.isfinite().all() for value in [*momentum, *runner.model.parameters()])


@pytest.mark.parametrize('kind', ['SGD', 'AdamW'])
@pytest.mark.parametrize('saved', [True, False])
def test_a_checkpoint_of_another_layout_goes_on_right(kind, saved):
    settings = {'lr': 0.1} | ({'momentum': 0.9} if kind == 'SGD' else {})
    start = torch.randn(4, 3, 3, 3)

    def steps(weight, optimizer, numbers):
        for number in numbers:
            torch.manual_seed(number)
            weight.grad = torch.empty_like(weight).copy_(torch.randn(4, 3, 3, 3))
            optimizer.step()

    def build(weight, layout, fused):
        weight = torch.nn.Parameter(weight.clone(memory_format=layout))
        return weight, getattr(torch.optim, kind)([weight], fused=fused, **settings)

    whole, optimizer = build(start, torch.contiguous_format, False)
    steps(whole, optimizer, range(4))
    first, optimizer = build(start, torch.channels_last, saved)
    steps(first, optimizer, range(2))
    rest, resumed = build(first.detach(), torch.contiguous_format, not saved)
    resumed.load_state_dict(optimizer.state_dict())
    OptimizerLayoutHook().before_train(SimpleNamespace(optim_wrapper=SimpleNamespace(optimizer=resumed)))
    assert bool(resumed.param_groups[0]['fused']) is not saved
    steps(rest, resumed, range(2, 4))
    assert torch.allclose(rest, whole, atol=1e-6)


CONFIG = {
    'model': {'type': 'RepFusion'},
    'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': 0.1}},
}


@pytest.mark.parametrize(('changes', 'fused', 'wrapper'), [
    ({}, True, 'AmpOptimWrapper'),
    ({'optim_wrapper.type': 'OptimWrapper'}, True, 'OptimWrapper'),
    ({'optim_wrapper.optimizer.fused': False}, False, 'AmpOptimWrapper'),
    ({'optim_wrapper.optimizer.type': 'LBFGS'}, None, 'AmpOptimWrapper'),
    ({'model.type': 'ImageClassifier'}, True, None),
    ({'model.type': 'mmpretrain.KDClassifier'}, True, 'AmpOptimWrapper'),
])  # fmt: skip
def test_defaults_on_a_gpu_leave_what_the_config_says(changes, fused, wrapper, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0')  # of which MMEngine's logger takes the first
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: not including_emulation)
    config = Config(CONFIG)
    config.merge_from_dict(changes)
    use_gpu_defaults(config)
    assert config.optim_wrapper.optimizer.get('fused') == fused
    assert config.optim_wrapper.get('type') == wrapper


def test_a_cpu_keeps_the_config(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    config = Config(CONFIG)
    use_gpu_defaults(config)
    assert config.to_dict() == CONFIG


def test_bfloat16_reaches_the_model_on_a_cpu():
    model = torch.nn.Linear(8, 8)
    wrapper = OPTIM_WRAPPERS.build(
        {'type': 'Bfloat16OptimWrapper', 'optimizer': torch.optim.SGD(model.parameters(), lr=0.1)}
    )
    with wrapper.optim_context(model):
        output = model(torch.rand(4, 8))
    assert output.dtype == torch.bfloat16
    before = model.weight.clone()
    wrapper.update_params(output.float().square().mean())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)
