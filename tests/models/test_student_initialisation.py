"""A student starts exactly as the same backbone, neck and head in MMPretrain's own classifier."""

import pytest
import torch
from mmpretrain.registry import MODELS

BACKBONE = {'type': 'ResNet_CIFAR', 'depth': 18, 'stem_channels': 4, 'base_channels': 4}
HEAD = {'type': 'LinearClsHead', 'num_classes': 10, 'in_channels': 32}


@pytest.fixture(scope='module')
def classifier_teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp('teacher')
    model = {'type': 'ImageClassifier', 'backbone': BACKBONE, 'neck': {'type': 'GlobalAveragePooling'}, 'head': HEAD}
    (folder / 'config.py').write_text(f'model = {model}')
    torch.save(MODELS.build(model).state_dict(), folder / 'teacher.pth')
    return {'config': str(folder / 'config.py'), 'checkpoint': str(folder / 'teacher.pth')}


@pytest.fixture
def build(pipeline_folder, classifier_teacher):
    """Builds, from the same random state, a classifier of a name with a backbone and a head."""
    configs = {
        'ImageClassifier': {'neck': {'type': 'GlobalAveragePooling'}},
        'KDClassifier': {
            'neck': {'type': 'GlobalAveragePooling'},
            'teacher': classifier_teacher,
            'distill_loss': {'type': 'LogitKDLoss'},
        },
        'RepFusion': {
            'teacher': {'type': 'DiffusersTeacher', 'pretrained': pipeline_folder},
            'timestep_policy': {'type': 'UniformPolicy'},
            'distill_loss': {'type': 'HintLoss'},
        },
    }

    def build(name, init_cfg=None, head_init_cfg=None):
        backbone = BACKBONE | ({'init_cfg': init_cfg} if init_cfg else {})
        config = {'type': name, 'backbone': backbone} | configs[name]
        if name != 'RepFusion':
            config['head'] = HEAD | ({'init_cfg': head_init_cfg} if head_init_cfg else {})
        torch.manual_seed(0)
        return MODELS.build(config)

    return build


def backbone_of(model):
    return model.backbone if hasattr(model, 'backbone') else model.student['backbone']


def initialise(model):
    """Names of the backbone's tensors that ``init_weights`` changes."""
    before = {key: value.clone() for key, value in backbone_of(model).state_dict().items()}
    torch.manual_seed(1)
    model.init_weights()
    return {key for key, value in backbone_of(model).state_dict().items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize('name', ['RepFusion', 'KDClassifier'])
def test_starts_bit_equal_to_the_ordinary_classifier(build, name):
    ordinary, distiller = build('ImageClassifier'), build(name)
    changed = initialise(ordinary)
    assert len(changed) > 20
    assert initialise(distiller) == changed
    weights = backbone_of(ordinary).state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in backbone_of(distiller).state_dict().items())


@pytest.mark.parametrize('name', ['RepFusion', 'KDClassifier'])
def test_what_init_cfg_says_arrives(build, name, tmp_path):
    model = build(name, {'type': 'Constant', 'layer': 'Conv2d', 'val': 0.25})
    model.init_weights()
    assert (backbone_of(model).conv1.weight == 0.25).all()

    model = build(name, {'type': 'Kaiming', 'layer': 'Conv2d', 'distribution': 'normal'})
    model.init_weights()
    weight = backbone_of(model).layer4[1].conv2.weight  # 32 x 32 x 3 x 3, fan-out 288
    assert weight.std().item() == pytest.approx((2 / 288) ** 0.5, rel=0.05)

    donor = MODELS.build(BACKBONE)
    torch.save({f'student.backbone.{k}': v + 1 for k, v in donor.state_dict().items()}, tmp_path / 'w.pth')
    model = build(name, {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'w.pth'), 'prefix': 'student.backbone.'})
    model.init_weights()
    assert all(torch.equal(v, donor.state_dict()[k] + 1) for k, v in backbone_of(model).state_dict().items())


def test_the_heads_init_cfg_arrives(build):
    model = build('KDClassifier', head_init_cfg={'type': 'Constant', 'layer': 'Linear', 'val': 0.5})
    model.init_weights()
    assert (model.student['head'].fc.weight == 0.5).all()
