"""A step that is compiled, channels-last and fed by the batch computes what the plain one does."""

import pytest
import torch
from mmcls.datasets import SampleBatch
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample


def losses(pipeline_folder, fast):
    torch.manual_seed(0)
    model = MODELS.build({
        'type': 'RepFusion',
        'teacher': {'type': 'DiffusersTeacher', 'pretrained': pipeline_folder, 'compile': fast},
        'backbone': {  # of few operations: compiling takes the time
            'type': 'ConvNeXt', 'arch': {'depths': [1], 'channels': [16]}, 'out_indices': (0,),
            'gap_before_final_norm': False,
        },
        'timestep_policy': {'type': 'ReinforcePolicy'},
        'distill_loss': {'type': 'HintLoss'},
        'task_head': {'type': 'PooledMLPHead', 'num_classes': 10},
        'standardizer': {},
        'data_preprocessor': {
            'type': 'BatchPreprocessor' if fast else 'ClsDataPreprocessor', 'mean': [127.5] * 3, 'std': [127.5] * 3,
        },
        'compile': fast,
    }).to('cpu').train()  # fmt: skip
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
    rows = []
    for step in range(5):
        torch.manual_seed(step)
        inputs, labels = torch.randint(256, (8, 3, 8, 8), dtype=torch.uint8), torch.randint(10, (8,))
        batch = {'inputs': inputs, 'data_samples': SampleBatch(gt_label=labels, sample_idx=torch.arange(8))}
        if not fast:
            batch = {'inputs': list(inputs), 'data_samples': [DataSample().set_gt_label(label) for label in labels]}
        rows.append({name: value.item() for name, value in model.train_step(batch, optimizer).items()})
    return rows


def test_five_steps_have_the_same_losses(pipeline_folder):
    for plain, fast in zip(losses(pipeline_folder, False), losses(pipeline_folder, True), strict=True):
        assert fast == pytest.approx(plain, rel=1e-4, abs=1e-4)
