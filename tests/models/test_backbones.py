"""The backbones that MMPretrain lacks, and students of every kind inside RepFusion."""

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from mmpretrain.registry import MODELS
from support import tiny_unet

CIFAR = torch.zeros(1, 3, 32, 32)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ('depth', 'width_factor', 'millions'),
    [(28, 2, 1.5), (28, 10, 36.5), (40, 1, 0.6), (40, 4, 8.9), (16, 8, 11.0), (22, 8, 17.2)],
)
def test_wide_resnets_have_the_papers_size(depth, width_factor, millions):
    with torch.device('meta'):
        backbone = MODELS.build({'type': 'WideResNet', 'depth': depth, 'width_factor': width_factor})
        features = backbone(CIFAR.to('meta'))
    assert [tuple(f.shape) for f in features] == [(1, 64 * width_factor, 8, 8)]
    classifier = 64 * width_factor * 10 + 10
    assert round((parameters(backbone) + classifier) / 1e6, 1) == millions


def test_wrn_28_2_has_1_466_320_parameters():
    assert parameters(MODELS.build({'type': 'WideResNet'})) == 1_466_320


def test_wide_resnet_gives_the_groups_asked_for():
    backbone = MODELS.build({'type': 'WideResNet', 'depth': 10, 'out_indices': (0, 1, 2)})
    backbone.init_weights()
    features = backbone(torch.randn(2, 3, 32, 32))
    assert [tuple(f.shape) for f in features] == [(2, 32, 32, 32), (2, 64, 16, 16), (2, 128, 8, 8)]
    assert features[0].min() < 0  # before the next block's norm and ReLU
    assert features[2].min() == 0  # after the last ones
    sum(f.sum() for f in features).backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_wide_resnet_is_what_the_paper_draws():
    """The same function, written down once more from Table 1 and Figure 1 (a)."""
    backbone = MODELS.build({'type': 'WideResNet', 'depth': 16, 'width_factor': 2})
    backbone.init_weights()
    images = torch.randn(2, 3, 32, 32)
    found = backbone(images)[0]

    def norm_relu(x, norm):
        return torch.nn.functional.batch_norm(x, None, None, norm.weight, norm.bias, training=True).relu()

    x = torch.nn.functional.conv2d(images, backbone.conv1.weight, padding=1)
    for stride, group in zip((1, 2, 2), backbone.groups, strict=True):
        for index, block in enumerate(group):
            step = stride if index == 0 else 1
            h = norm_relu(x, block.norm1)
            shortcut = torch.nn.functional.conv2d(h, block.shortcut.weight, stride=step) if index == 0 else x
            h = torch.nn.functional.conv2d(h, block.conv1.weight, stride=step, padding=1)
            x = shortcut + torch.nn.functional.conv2d(norm_relu(h, block.norm2), block.conv2.weight, padding=1)
    assert torch.allclose(found, norm_relu(x, backbone.norm), atol=1e-5)


@pytest.mark.parametrize(
    ('settings', 'message'), [({'depth': 18}, 'depth=18, expected 6n'), ({'out_indices': (3,)}, r'expected some of 0')]
)
def test_wide_resnets_that_do_not_exist_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build({'type': 'WideResNet'} | settings)


def test_mobilenet_for_cifar_ends_in_4x4_and_takes_mobilenets_weights():
    backbone = MODELS.build({'type': 'MobileNetV2CIFAR', 'out_indices': (0, 1, 2, 4, 7)})
    assert [f.shape[-1] for f in backbone(CIFAR)] == [32, 32, 16, 8, 4]
    backbone.load_state_dict(MODELS.build({'type': 'MobileNetV2'}).state_dict())


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp('pipeline')
    DDPMPipeline(tiny_unet(sample_size=32), DDPMScheduler()).save_pretrained(folder)
    return {'type': 'DiffusersTeacher', 'pretrained': str(folder), 'layers': ['mid_block.resnets.1.conv2']}


def repfusion(teacher, backbone, neck=None):
    return MODELS.build(
        {
            'type': 'RepFusion',
            'teacher': teacher,
            'backbone': backbone,
            'neck': neck,
            'timestep_policy': {'type': 'UniformPolicy'},
            'distill_loss': {'type': 'HintLoss', 'pooled': False},
        }
    )


TIMM = {'type': 'TIMMBackbone'}
STUDENTS = {
    'r18': ({'type': 'ResNet_CIFAR', 'depth': 18}, (512, 4, 4)),
    'r18 imagenet': ({'type': 'ResNet', 'depth': 18}, (512, 1, 1)),
    'r50': ({'type': 'ResNet_CIFAR', 'depth': 50}, (2048, 4, 4)),
    'r50 imagenet': ({'type': 'ResNet', 'depth': 50}, (2048, 1, 1)),
    'mbv2': ({'type': 'MobileNetV2CIFAR'}, (1280, 4, 4)),
    'mbv2 imagenet': ({'type': 'MobileNetV2'}, (1280, 1, 1)),
    'wrn-28-2': ({'type': 'WideResNet'}, (128, 8, 8)),
    'wrn-10-10': ({'type': 'WideResNet', 'depth': 10, 'width_factor': 10}, (640, 8, 8)),
    'timm resnet10t': (TIMM | {'model_name': 'resnet10t'}, (512, 1, 1)),
    'timm resnet10t maps': (TIMM | {'model_name': 'resnet10t', 'features_only': True, 'out_indices': [3]}, (256, 2, 2)),
    'timm mobilenetv3': (TIMM | {'model_name': 'mobilenetv3_small_050'}, (1024, 1, 1)),
    'timm vit': ({'type': 'TIMMFeatureMaps', 'model_name': 'vit_tiny_patch16_224', 'img_size': 32}, (192, 2, 2)),
    'timm vit maps': (
        TIMM | {'model_name': 'vit_tiny_patch16_224', 'img_size': 32, 'features_only': True, 'out_indices': (11,)},
        (192, 2, 2),
    ),
}


def learn(model):
    """The feature maps of a batch; the loss reaches the first convolution."""
    images = {'inputs': [torch.randint(256, (3, 32, 32), dtype=torch.uint8) for _ in range(4)]}
    inputs = model.data_preprocessor(images, training=True)['inputs']
    model(inputs, mode='loss')['loss_distill_mid_block_resnets_1_conv2'].backward()
    assert next(p for p in model.student['backbone'].parameters() if p.ndim == 4).grad.abs().sum() > 0
    return [tuple(feature.shape) for feature in model(inputs)]


@pytest.mark.parametrize(('backbone', 'shape'), STUDENTS.values(), ids=STUDENTS)
def test_students_learn_inside_repfusion(teacher, backbone, shape):
    assert learn(repfusion(teacher, backbone)) == [(4, *shape)]


def test_hrnet_with_fused_scales_learns_inside_repfusion(teacher):
    neck = {'type': 'HRFuseScales', 'in_channels': (18, 36, 72, 144)}
    assert learn(repfusion(teacher, {'type': 'HRNet', 'arch': 'w18'}, neck)) == [(4, 2048, 1, 1)]
