"""A distilled backbone in the models of the other trees: names and values of every tensor."""

import mmseg.models  # noqa: F401
import pytest
import torch
from mmcls.engine.pretrained import PretrainedWeightsError, check_pretrained_weights
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmseg.registry import MODELS as SEGMENTORS


def bisenet(checkpoint, prefix):
    init_cfg = {'type': 'Pretrained', 'checkpoint': str(checkpoint), 'prefix': prefix}
    return {
        'type': 'BiSeNetV1',
        'in_channels': 3,
        'context_channels': (128, 256, 512),
        'spatial_channels': (64, 64, 64, 128),
        'out_indices': (0, 1, 2),
        'out_channels': 256,
        'norm_cfg': {'type': 'BN'},
        'backbone_cfg': {'type': 'ResNet', 'depth': 18, 'norm_cfg': {'type': 'BN'}, 'init_cfg': init_cfg},
    }


def test_bisenet_takes_the_distilled_backbone(tmp_path):
    backbone = MODELS.build({'type': 'ResNet', 'depth': 18})
    backbone.init_weights()
    saved = backbone.state_dict()
    path = tmp_path / 'distilled.pth'
    torch.save({'state_dict': {f'student.backbone.{key}': value for key, value in saved.items()}}, path)

    init_default_scope('mmseg')
    config = {'model': {'backbone': bisenet(path, 'student.backbone.')}}
    model = torch.nn.ModuleDict({'backbone': SEGMENTORS.build(config['model']['backbone'])})
    check_pretrained_weights(model, config)
    model['backbone'].init_weights()
    loaded = model['backbone'].context_path.backbone.state_dict()
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[key], saved[key]) for key in saved)

    wrong = {'model': {'backbone': bisenet(path, 'backbone.')}}
    model = torch.nn.ModuleDict({'backbone': SEGMENTORS.build(wrong['model']['backbone'])})
    with pytest.raises(PretrainedWeightsError, match=r'^model\.backbone\.backbone_cfg\.init_cfg\.prefix'):
        check_pretrained_weights(model, wrong)
