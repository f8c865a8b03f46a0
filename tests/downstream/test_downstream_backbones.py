"""A distilled backbone in the models of the configs as they stand: names and values of every tensor."""

import functools

import pytest
import torch
from mmcls.engine.pretrained import check_pretrained_weights
from mmcls.weights import PretrainedWeightsError
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from support import ROOT

FACES = ROOT / 'segmentation/configs/celebahq_mask'
WFLW = ROOT / 'landmark/configs/face/2d_kpt_sview_rgb_img/topdown_heatmap/wflw'
BISENET = 'bisenetv1_{}_lr5e-3_2x8_448x448_160k_coco-celebahq_mask_repfusion.py'
# Config, its distillation, where its backbone is, and the backbone's number of tensors.
TRANSFERS = [
    (FACES / BISENET.format('r18-d32'), 'r18', 'backbone.context_path.backbone', 120),
    (FACES / BISENET.format('r50-d32'), 'r50', 'backbone.context_path.backbone', 318),
    (WFLW / 'res50_wflw_256x256_bs64x2_repfussion.py', 'r50', 'backbone', 318),
    (WFLW / 'hrnetv2_w18_wflw_256x256_bs128x2_repfussion.py', 'hrnet18', 'backbone', 1830),
]
IDS = ['bisenet-r18', 'bisenet-r50', 'res50', 'hrnet18']


def save_student(folder, backbone: dict) -> tuple[str, dict]:
    """A checkpoint of a student with a value of its own in every tensor, and its backbone's tensors."""
    init_default_scope('mmpretrain')
    backbone = MODELS.build(backbone)
    for tensor in backbone.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) + 0.5 if tensor.is_floating_point() else torch.tensor(7))
    saved = backbone.state_dict()
    path = folder / 'distilled.pth'
    others = {'connectors.0.weight': torch.zeros(1), 'student.neck.weight': torch.zeros(1)}
    torch.save({'state_dict': {f'student.backbone.{key}': value for key, value in saved.items()} | others}, path)
    return str(path), saved


@functools.cache
def distillation(student: str) -> Config:
    return Config.fromfile(ROOT / f'classification_distill/configs/celebahq-hint/ddpm-{student}_hint.py')


def build(path, checkpoint: str, **settings):
    """A config's model, to start from ``checkpoint``, its ``init_cfg`` with other settings, too."""
    config = Config.fromfile(path)
    assert config.distilled in str(config.model.to_dict())
    backbone = config.model.backbone
    backbone.get('backbone_cfg', backbone).init_cfg.update(checkpoint=checkpoint, **settings)
    init_default_scope(config.default_scope)
    return MODELS.build(config.model), config


@pytest.mark.parametrize(('path', 'student', 'name', 'count'), TRANSFERS, ids=IDS)
def test_every_tensor_arrives(path, student, name, count, tmp_path):
    checkpoint, saved = save_student(tmp_path, distillation(student).model.backbone)
    model, config = build(path, checkpoint)
    check_pretrained_weights(model, config)
    model.init_weights()
    loaded = model.get_submodule(name).state_dict()
    assert len(saved) == count
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[key], saved[key]) for key in saved)


@pytest.mark.parametrize(
    ('transfer', 'other', 'problem'),
    [
        (TRANSFERS[0], {'type': 'ResNet_CIFAR'}, r'conv1\.weight is \(64, 3, 3, 3\), expected \(64, 3, 7, 7\)'),
        (TRANSFERS[0], {'stem_channels': 32}, r'conv1\.weight is \(32, 3, 7, 7\), expected \(64, 3, 7, 7\)'),
        (TRANSFERS[2], {'deep_stem': True}, r'Missing .*conv1\.weight'),
        (TRANSFERS[3], {'arch': 'w30'}, r'is \(30, .*expected \(18, '),
    ],
    ids=['small-image-stem', 'narrow-stem', 'deep-stem', 'wider'],
)
def test_another_architecture_is_refused(transfer, other, problem, tmp_path):
    path, student, _, _ = transfer
    checkpoint, _ = save_student(tmp_path, {**distillation(student).model.backbone, **other})
    model, config = build(path, checkpoint)
    with pytest.raises(PretrainedWeightsError, match=problem):
        check_pretrained_weights(model, config)


def test_a_wrong_prefix_is_named_where_it_stands(tmp_path):
    path, student, _, _ = TRANSFERS[0]
    checkpoint, _ = save_student(tmp_path, distillation(student).model.backbone)
    model, config = build(path, checkpoint, prefix='backbone.')
    field = r"^model\.backbone\.backbone_cfg\.init_cfg\.prefix='backbone\.'"
    with pytest.raises(
        PretrainedWeightsError, match=rf"{field} matches nothing.*'student\.backbone\.' \(120 tensors\)"
    ):
        check_pretrained_weights(model, config)
