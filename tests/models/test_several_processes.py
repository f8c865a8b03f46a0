"""Training in two real processes: what they share, what they must not; gradient accumulation, AMP and EMA."""

import os
import socket
from collections import Counter
from functools import partial
from unittest.mock import patch

import pytest
import torch
import torch.multiprocessing as mp
from hub_server import hub
from mmcls.engine.launch import build_runner
from mmcls.models.losses.crd import CRDLoss
from mmcls.models.task_heads.dense import HeatmapHead
from mmcls.models.teachers.feature_standardizer import FeatureStandardizer
from mmcls.models.timestep_policies import TimestepSample
from mmcls.models.timestep_policies.reinforce import ReinforcePolicy
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmpretrain.registry import MODELS
from support import ROOT
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

MODEL = 'made/tiny'


def distillation(digits, work_dir, batch_size, **model):
    """The config of the digits at small size, of 5 iterations of 16 images a process, or half as many of 32."""
    config = Config.fromfile(ROOT / 'classification_distill/configs/digits-hint/ddpm-r18_hint.py')
    for part, settings in model.items():
        config.model[part] = settings
    config.model.teacher.pretrained = MODEL
    config.model.backbone.update(base_channels=4, stem_channels=4)
    dataset = config.train_dataloader.dataset
    config.train_dataloader.update(batch_size=batch_size, drop_last=False)
    dataset.indices, dataset.dataset.data_root = 160, str(digits)
    config.data_preprocessor.augments = []
    config.train_cfg = {'by_epoch': True, 'max_epochs': 1}
    for name in ('val', 'test'):
        config.update({f'{name}_dataloader': None, f'{name}_cfg': None, f'{name}_evaluator': None})
    config.custom_hooks = [{'type': 'EMAHook', 'momentum': 0.1}]
    config.update(launcher='pytorch', work_dir=str(work_dir), experiment_name=work_dir.name)
    return config


class Recorder(Hook):
    """What is all-reduced in which iteration, and in which precision student and teacher run."""

    def before_train(self, runner):
        self.runner, self.reduced, self.dtypes = runner, Counter(), {}
        model = runner.model.module
        runner.model.register_comm_hook(None, self.reduce)
        last = model.student['backbone'].layer4[-1].conv2
        for name, layer in (('student', last), ('teacher', model.teacher.network.mid_block.resnets[1].conv2)):
            layer.register_forward_hook(lambda module, args, output, name=name: self.record(name, output))

    def reduce(self, state, bucket):
        self.reduced[self.runner.iter] += bucket.buffer().numel()
        return allreduce_hook(state, bucket)

    def record(self, name, output):
        self.dtypes[name] = output.dtype


def train(config):
    runner = build_runner(config)
    recorder = Recorder()
    runner.register_hook(recorder)
    runner.train()
    torch.distributed.destroy_process_group()
    return runner, recorder


def train_with_all(digits, folder):
    """Every part that learns or counts, accumulation over two batches, bfloat16 and EMA."""
    config = distillation(digits, folder / 'all', 16)
    config.model.standardizer = {'num_bins': 4}
    config.optim_wrapper.update(type='AmpOptimWrapper', dtype='bfloat16', accumulative_counts=2)
    # MMEngine refuses AMP without a GPU, although torch has all that it needs.
    scaler = partial(torch.amp.GradScaler, device='cpu')
    with patch.multiple(amp_optimizer_wrapper, is_cuda_available=lambda: True, GradScaler=scaler):
        runner, recorder = train(config)
    model = runner.model.module
    average = next(hook for hook in runner.hooks if isinstance(hook, EMAHook)).ema_model
    return {
        'state': model.state_dict(),
        'parameters': [name for name, _ in model.named_parameters()],
        'average': average.state_dict(),
        'one_teacher': average.module.teacher.network is model.teacher.network,
        'scale': runner.optim_wrapper.loss_scaler.get_scale(),
        'reduced': recorder.reduced,
        'dtypes': recorder.dtypes,
    }


def train_plain(digits, work_dir, batch_size, accumulative_counts):
    """Nothing in a step depends on the batch that an image is in."""
    policy = {'type': 'FixedPolicy', 'timestep': 50}
    config = distillation(digits, work_dir, batch_size, timestep_policy=policy, standardizer=None)
    config.model.backbone.norm_cfg = {'type': 'GN', 'num_groups': 2}
    optimizer = {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}
    config.optim_wrapper = {'optimizer': optimizer, 'accumulative_counts': accumulative_counts}
    config.param_scheduler = None  # it would count batches, not updates
    runner, _ = train(config)
    return dict(runner.model.module.named_parameters())


def share(rank, digits, folder):
    """What is shared where each process starts from values of its own."""
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    policy = ReinforcePolicy(image_size=8)
    zeros = torch.zeros(4)
    policy.loss(TimestepSample(zeros, zeros, zeros), torch.full((4,), 10.0 * rank))
    standardizer = FeatureStandardizer(1)
    standardizer(torch.full((2, 1, 1, 1), 10.0 * rank), torch.zeros(2, dtype=torch.int64))
    torch.manual_seed(rank)
    crd = CRDLoss(num_samples=8, student_channels=2, teacher_channels=2, embed_channels=4, num_negatives=2)
    crd(torch.rand(2, 2, 1, 1), torch.rand(2, 2, 1, 1), torch.arange(2) + 2 * rank)
    head = HeatmapHead(1, in_channels=1)  # only the first process has images with labels
    head.fill_unlabelled(torch.tensor([2.0, 4.0]), torch.tensor([rank == 0, False]))
    model = MODELS.build(distillation(digits, folder / 'wrapped', 16).model)
    with torch.no_grad():
        for weight in (*model.parameters(), *model.teacher.network.parameters()):
            weight.fill_(rank)
    MMDistributedDataParallel(model, broadcast_buffers=False)
    torch.distributed.destroy_process_group()
    return {
        'baseline': policy.reward_mean,
        'mean': standardizer.mean,
        'typical_loss': head.typical_loss,
        'banks': (crd.student_bank, crd.teacher_bank),
        'weights': {weight.mean().item() for weight in model.parameters()},
        'teacher': {weight.mean().item() for weight in model.teacher.network.parameters()},
    }


def work(rank, digits, folder, ports):
    os.environ |= {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1'}
    results = {}
    os.environ['MASTER_PORT'] = str(ports[0])
    results['all'] = train_with_all(digits, folder)
    for name, port, arguments in (('accumulated', ports[1], (16, 2)), ('large', ports[2], (32, 1))):
        os.environ['MASTER_PORT'] = str(port)
        results[name] = train_plain(digits, folder / name, *arguments)
    results['shared'] = share(rank, digits, folder)
    torch.save(results, folder / f'{rank}.pt')


def free_ports(count):
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture(scope='module')
def two(digits, pipeline_folder, tmp_path_factory):
    """What each of two processes ended with, and what they fetched from the hub."""
    folder = tmp_path_factory.mktemp('two')
    with pytest.MonkeyPatch.context() as variables, hub(pipeline_folder, MODEL) as (endpoint, fetched):
        variables.setenv('HF_ENDPOINT', endpoint)
        variables.setenv('HF_HUB_CACHE', str(folder / 'hub'))
        variables.setenv('OMP_NUM_THREADS', '1')
        mp.spawn(work, (digits, folder, free_ports(3)), nprocs=2)
    return [torch.load(folder / f'{rank}.pt', weights_only=False) for rank in range(2)], fetched


def assert_same(first, second):
    assert first.keys() == second.keys()
    different = [name for name, value in first.items() if not value.equal(second[name])]
    assert not different


def test_baseline_standardizer_and_banks_are_those_of_all_processes(two):
    first, second = (result['shared'] for result in two[0])
    for shared in (first, second):
        assert shared['baseline'].item() == pytest.approx(5)
        assert shared['mean'].item() == pytest.approx(5)
        assert shared['typical_loss'].item() == 2
    assert all(map(torch.equal, first['banks'], second['banks']))


def test_the_teacher_is_never_broadcast(two):
    for rank, result in enumerate(two[0]):
        assert result['shared']['weights'] == {0}
        assert result['shared']['teacher'] == {rank}


def test_one_download_a_node(two):
    fetched = two[1]
    assert 'unet/diffusion_pytorch_model.safetensors' in fetched
    assert set(fetched.values()) == {1}


def test_weights_averages_and_statistics_are_equal_on_all_ranks(two):
    first, second = (result['all'] for result in two[0])
    shared = {
        name
        for name in first['state']
        if name in first['parameters'] or name.startswith(('timestep_policy', 'standardizers'))
    }
    assert {'timestep_policy.reward_mean', 'standardizers.0.mean', 'task_head.mlp.0.weight'} <= shared
    assert_same(*({name: result['state'][name] for name in shared} for result in (first, second)))
    assert_same(*({name: result['average'][f'module.{name}'] for name in shared} for result in (first, second)))
    assert first['state']['standardizers.0.count'].any()
    assert any(not first['state'][name].equal(first['average'][f'module.{name}']) for name in first['parameters'])
    assert first['one_teacher']
    assert not any('teacher' in name for name in first['average'])


def test_gradients_are_reduced_once_an_update_and_hold_no_teacher(two):
    result = two[0][0]['all']
    weights = sum(result['state'][name].numel() for name in result['parameters'])
    assert result['reduced'] == {1: weights, 3: weights, 4: weights}  # the fifth batch is left over


def test_amp_is_the_students_alone(two):
    result = two[0][0]['all']
    assert result['dtypes'] == {'student': torch.bfloat16, 'teacher': torch.float32}
    assert result['scale'] > 1


def test_accumulated_small_batches_do_what_a_large_one_does(two):
    result = two[0][0]
    large = result['large']
    assert large.keys() == result['accumulated'].keys()
    for name, weight in result['accumulated'].items():
        assert torch.allclose(weight, large[name], atol=1e-5), name
