from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

MIDDLE = 'mid_block.resnets.1.conv2'


def build(pipeline_folder, **settings):
    config = {
        'type': 'RepFusion',
        'teacher': {'type': 'DiffusersTeacher', 'pretrained': pipeline_folder, 'layers': [MIDDLE]},
        'backbone': {'type': 'ResNet_CIFAR', 'depth': 18, 'stem_channels': 4, 'base_channels': 4, 'out_indices': (3,)},
        'timestep_policy': {'type': 'ReinforcePolicy'},
        'distill_loss': {'type': 'HintLoss'},
        'task_head': {'type': 'PooledMLPHead', 'num_classes': 10},
        'standardizer': {},
        'data_preprocessor': {'mean': [120.0, 110.0, 100.0], 'std': [60.0, 50.0, 40.0]},
    }
    return MODELS.build(config | settings)


def batch(size=8):
    inputs = [torch.randint(256, (3, 8, 8), dtype=torch.uint8) for _ in range(size)]
    return {'inputs': inputs, 'data_samples': [DataSample().set_gt_label(i % 10) for i in range(size)]}


def test_a_step_logs_losses_and_diagnostics(pipeline_folder):
    model = build(pipeline_folder)
    data = model.data_preprocessor(batch(), training=True)
    losses = model(**data, mode='loss')
    total, logged = model.parse_losses(losses)
    weighted = {'loss_distill_mid_block_resnets_1_conv2', 'loss_task', 'loss_policy', 'loss_entropy'}
    assert set(losses) == weighted | {'reward', 'policy_entropy', 'timestep_mean'}
    assert total.item() == pytest.approx(sum(losses[key].item() for key in weighted), rel=1e-5)
    assert losses['reward'].item() == pytest.approx(-losses['loss_task'].item(), rel=1e-5)
    assert not losses['reward'].requires_grad
    assert logged['policy_entropy'].item() == pytest.approx(torch.log(torch.tensor(20.0)).item(), rel=1e-5)


def test_a_policys_schedule_follows_the_runner_whatever_hooks_there_are(pipeline_folder):
    model = build(pipeline_folder)
    hub = MessageHub.get_current_instance()
    hub.update_info_dict({'iter': 25, 'max_iters': 100})  # as MMEngine's RuntimeInfoHook does
    try:
        model(**model.data_preprocessor(batch(), training=True), mode='loss')
    finally:
        hub.update_info_dict({'iter': 0, 'max_iters': 1})
    assert model.timestep_policy.entropy_weight == pytest.approx(0.5 * model.timestep_policy.initial_entropy_weight)


def test_the_task_heads_weight_is_its_losss_and_not_the_rewards(pipeline_folder):
    model = build(pipeline_folder, task_head={'type': 'PooledMLPHead', 'num_classes': 10, 'loss_weight': 3.0})
    losses = model(**model.data_preprocessor(batch(), training=True), mode='loss')
    assert losses['loss_task'].item() == pytest.approx(-3 * losses['reward'].item(), rel=1e-5)


def test_the_teacher_sees_the_pixels_whatever_the_students_normalisation(pipeline_folder):
    seen = []
    for preprocessor in ({}, {'mean': [120.0, 110.0, 100.0], 'std': [60.0, 50.0, 40.0]}):
        model = build(pipeline_folder, timestep_policy={'type': 'FixedPolicy'}, data_preprocessor=preprocessor)
        model.teacher.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        torch.manual_seed(0)
        raw = batch()
        model(**model.data_preprocessor(raw, training=True), mode='loss')
    expected = torch.stack(raw['inputs']).float() / 127.5 - 1
    for images in seen:
        assert torch.allclose(images, expected, atol=1e-5)


def test_images_that_are_no_pixels_are_refused(pipeline_folder):
    model = build(pipeline_folder)
    data = model.data_preprocessor({'inputs': [torch.rand(3, 8, 8)] * 4, 'data_samples': batch(4)['data_samples']})
    with pytest.raises(ValueError, match=r'expected \[-1, 1\]'):
        model(**data, mode='loss')


def test_the_teacher_never_changes_and_is_in_no_checkpoint(pipeline_folder):
    model = build(pipeline_folder)
    before = {key: value.clone() for key, value in model.teacher.network.state_dict().items()}
    student = {key: value.clone() for key, value in model.student.state_dict().items()}
    average = ExponentialMovingAverage(model, momentum=0.5)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1))
    for _ in range(3):
        model.train()
        model.train_step(batch(), optimizer)
        average.update_parameters(model)
    assert all(torch.equal(before[key], value) for key, value in model.teacher.network.state_dict().items())
    assert not all(torch.equal(student[key], value) for key, value in model.student.state_dict().items())
    assert not any('teacher' in key for key in [*model.state_dict(), *average.state_dict()])
    assert average.module.teacher.network is model.teacher.network
    build(pipeline_folder).load_state_dict(model.state_dict())


def test_predict_uses_the_task_head(pipeline_folder):
    model = build(pipeline_folder).eval()
    data = model.data_preprocessor(batch())
    predictions = model(**data, mode='predict')
    assert all(sample.pred_score.sum().item() == pytest.approx(1) for sample in predictions)
    headless = build(pipeline_folder, task_head=None, timestep_policy={'type': 'UniformPolicy'})
    with pytest.raises(ValueError, match='task_head'):
        headless(**data, mode='predict')


def test_a_policy_that_learns_needs_a_task_head(pipeline_folder):
    with pytest.raises(ValueError, match='give the model a task_head'):
        build(pipeline_folder, task_head=None)


def test_student_features_and_layers_must_pair_up(pipeline_folder):
    backbone = {'type': 'ResNet_CIFAR', 'depth': 18, 'base_channels': 4, 'stem_channels': 4, 'out_indices': (2, 3)}
    with pytest.raises(ValueError, match=r'gives 2 feature\(s\) and the teacher 1'):
        build(pipeline_folder, backbone=backbone)


def test_one_student_feature_meets_all_layers(pipeline_folder):
    layers = ['down_blocks.0', 'mid_block.resnets.0', MIDDLE]
    teacher = {'type': 'DiffusersTeacher', 'pretrained': pipeline_folder, 'layers': layers}
    model = build(pipeline_folder, teacher=teacher)
    assert len(model.map_sizes) == 1
    losses = model(**model.data_preprocessor(batch(), training=True), mode='loss')
    named = {f'loss_distill_{layer.replace(".", "_")}' for layer in layers}
    assert named <= set(losses)
    sum(losses[name] for name in named).backward()
    assert all(connector.conv.weight.grad.abs().sum() > 0 for connector in model.connectors)


def test_two_layers_with_dense_features(pipeline_folder):
    model = build(
        pipeline_folder,
        teacher={'type': 'DiffusersTeacher', 'pretrained': pipeline_folder, 'layers': ['down_blocks.0', MIDDLE]},
        backbone={'type': 'ResNet_CIFAR', 'depth': 18, 'base_channels': 4, 'stem_channels': 4, 'out_indices': (0, 3)},
        distill_loss={'type': 'HintLoss', 'pooled': False},
    )
    losses = model(**model.data_preprocessor(batch(), training=True), mode='loss')
    assert {'loss_distill_mid_block_resnets_1_conv2', 'loss_distill_down_blocks_0'} <= set(losses)


class OwnTeacher(nn.Module):
    """What the contract of a teacher asks for and nothing else."""

    layers, feature_info, num_timesteps, sample_size = ('layer',), {'layer': (3, 8)}, 100, (8, 8)
    class_conditioning = SimpleNamespace(mode='mean')

    def forward(self, images, t, class_labels=None):
        return {'layer': images.mean((2, 3), keepdim=True) + t[:, None, None, None] / 100}


def test_a_teacher_of_ones_own(pipeline_folder):
    MODELS.register_module(name='OwnTeacher', module=OwnTeacher, force=True)
    model = build(pipeline_folder, teacher={'type': 'OwnTeacher'}, distill_loss={'type': 'HintLoss', 'pooled': False})
    assert model.timestep_policy.grid.tolist() == list(range(0, 100, 5))
    data = model.data_preprocessor(batch(), training=True)
    assert torch.isfinite(model.parse_losses(model(**data, mode='loss'))[0])


def test_a_reward_in_closed_form_adds_no_loss(pipeline_folder):
    model = build(pipeline_folder, task_head={'type': 'LeastSquaresHead', 'num_classes': 10})
    losses = model(**model.data_preprocessor(batch(), training=True), mode='loss')
    assert set(losses) == {
        'loss_distill_mid_block_resnets_1_conv2', 'loss_policy', 'loss_entropy',
        'reward', 'policy_entropy', 'timestep_mean',
    }  # fmt: skip
    assert losses['reward'] == -1
    assert model.task_head.gram.any()


def test_a_reward_without_labels_reads_all_views_at_the_images_timesteps(pipeline_folder):
    model = build(pipeline_folder, task_head={'type': 'ViewAgreementHead'})
    read = []
    model.teacher.register_forward_pre_hook(lambda module, args: read.append((args[0], args[1])))
    unlabelled = {'inputs': batch()['inputs'], 'data_samples': [DataSample() for _ in range(8)]}
    losses = model(**model.data_preprocessor(unlabelled, training=True), mode='loss')
    assert losses['reward'].item() < 0
    assert len(read) == 3
    assert all(torch.equal(t, model.last_timesteps) for _, t in read)
    assert not torch.equal(read[0][0], read[1][0])
    assert model.standardizers[0].count == 8  # the views are not counted among the images


def test_a_reward_of_a_share_of_the_batch(pipeline_folder):
    model = build(pipeline_folder, task_head={'type': 'ViewAgreementHead', 'share': 0.25})
    read = []
    model.teacher.register_forward_pre_hook(lambda module, args: read.append(args[1]))
    losses = model(**model.data_preprocessor(batch(), training=True), mode='loss')
    assert [len(t) for t in read] == [8, 2, 2]
    assert all(torch.equal(t, model.last_timesteps[:2]) for t in read[1:])
    assert losses['loss_policy'].isfinite()
    assert losses['reward'].item() < 0


def test_a_dense_task_head_reads_maps_though_the_loss_compares_averages(pipeline_folder):
    model = build(pipeline_folder, task_head={'type': 'DenseSegHead', 'num_classes': 3})
    data = model.data_preprocessor(batch(), training=True)
    data['data_samples'] = [
        DataSample(gt_sem_seg=PixelData(data=torch.randint(3, (1, 8, 8)))) for _ in data['data_samples']
    ]
    seen = []
    model.task_head.conv.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[2:]))
    model(**data, mode='loss')
    assert seen == [(4, 4)]


def test_a_loss_for_each_layer(pipeline_folder):
    settings = {
        'teacher': {'type': 'DiffusersTeacher', 'pretrained': pipeline_folder, 'layers': ['down_blocks.0', MIDDLE]},
        'backbone': {
            'type': 'ResNet_CIFAR',
            'depth': 18,
            'base_channels': 4,
            'stem_channels': 4,
            'out_indices': (0, 3),
        },
    }
    whole, average = {'type': 'HintLoss', 'pooled': False}, {'type': 'HintLoss'}
    model = build(pipeline_folder, **settings, distill_loss=[whole, average])
    asked = []
    model.teacher.register_forward_hook(lambda part, args, output: asked.append([f.shape[2:] for f in output.values()]))
    losses = model(**model.data_preprocessor(batch(), training=True), mode='loss')
    assert [tuple(size) for size in asked[0]] == [(4, 4), (1, 1)]
    assert model.cached_shapes() == {'down_blocks.0': (8, 4, 4), MIDDLE: (16, 1, 1)}
    alone = build(pipeline_folder, **settings, distill_loss=whole)
    alone.load_state_dict(model.state_dict())
    assert set(losses) == set(alone(**alone.data_preprocessor(batch(), training=True), mode='loss'))
    with pytest.raises(ValueError, match='lists 1 losses, and the teacher gives 2 features'):
        build(pipeline_folder, **settings, distill_loss=[whole])
    with pytest.raises(ValueError, match='LogitKDLoss compares logits'):
        build(pipeline_folder, **settings, distill_loss=[whole, {'type': 'LogitKDLoss'}])
