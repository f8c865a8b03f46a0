"""A step that is compiled, channels-last and fed by the batch computes what the plain one does."""

import pytest
import torch
from mmcls.datasets import SampleBatch
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

CONVNEXT = {  # of few operations: compiling takes the time
    'type': 'ConvNeXt', 'arch': {'depths': [1], 'channels': [16]}, 'out_indices': (0,), 'gap_before_final_norm': False,
}  # fmt: skip
RESNET = {'type': 'ResNet_CIFAR', 'depth': 18, 'stem_channels': 16, 'base_channels': 16, 'out_indices': (3,)}


def build(pipeline_folder, backbone, fast):
    torch.manual_seed(0)
    model = MODELS.build({
        'type': 'RepFusion',
        'teacher': {'type': 'DiffusersTeacher', 'pretrained': pipeline_folder, 'compile': fast},
        'backbone': backbone,
        'timestep_policy': {'type': 'ReinforcePolicy'},
        'distill_loss': {'type': 'HintLoss'},
        'task_head': {'type': 'PooledMLPHead', 'num_classes': 10},
        'standardizer': {},
        'data_preprocessor': {
            'type': 'BatchPreprocessor' if fast else 'ClsDataPreprocessor', 'mean': [127.5] * 3, 'std': [127.5] * 3,
        },
        'compile': fast,
    }).to('cpu').train()  # fmt: skip
    model.init_weights()
    return model


def losses(pipeline_folder, backbone, fast):
    model = build(pipeline_folder, backbone, fast)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
    rows = []
    for step in range(5):
        torch.manual_seed(step)
        inputs, labels = torch.randint(256, (32, 3, 16, 16), dtype=torch.uint8), torch.randint(10, (32,))
        batch = {'inputs': inputs, 'data_samples': SampleBatch(gt_label=labels, sample_idx=torch.arange(32))}
        if not fast:
            batch = {'inputs': list(inputs), 'data_samples': [DataSample().set_gt_label(label) for label in labels]}
        rows.append({name: value.item() for name, value in model.train_step(batch, optimizer).items()})
    return rows


@pytest.mark.parametrize('backbone', [CONVNEXT, pytest.param(RESNET, marks=pytest.mark.slow)])
def test_five_steps_have_the_same_losses(backbone, pipeline_folder):
    rows = [losses(pipeline_folder, backbone, fast) for fast in (False, True)]
    for plain, fast in zip(*rows, strict=True):
        assert fast == pytest.approx(plain, rel=1e-4, abs=1e-4)


def test_a_compiled_student_starts_from_the_weights_of_the_plain_one(pipeline_folder):
    plain, fast = (build(pipeline_folder, RESNET, fast).student.state_dict() for fast in (False, True))
    assert not fast['backbone.layer1.0.conv1.weight'].is_contiguous()
    assert all(torch.equal(weight, fast[name]) for name, weight in plain.items())
