"""A teacher and a student by name become what a config holds."""

import pytest
import torch
from mmcls.apis.folder_config import Network, check_student, describe_student
from mmcls.apis.teacher import describe_teacher
from mmpretrain.registry import MODELS


@pytest.mark.parametrize(
    ('name', 'settings'),
    [
        ('resnet18_8xb16_cifar10', {'out_indices': [2, 3]}),
        ('mobilenet-v2_8xb32_in1k', {'out_indices': [6, 7]}),
        ('convnext-v2-atto_fcmae-pre_3rdparty_in1k', {'out_indices': [-2, -1], 'gap_before_final_norm': False}),
        ('resnet10t', {'features_only': True, 'out_indices': [-2, -1]}),
    ],
)
def test_students_give_a_map_for_each_layer(name, settings):
    student = describe_student(name, 2)
    assert settings.items() <= student.backbone.items()
    backbone = MODELS.build(student.backbone)
    maps = backbone(torch.zeros(2, 3, 64, 64))
    assert [feature.dim() for feature in maps] == [4, 4]
    assert maps[0].shape[2] >= maps[1].shape[2]


def test_a_student_that_gives_no_maps_or_too_many_is_refused():
    two = {'type': 'ResNet', 'depth': 18, 'out_indices': (2, 3)}
    pooled = {'type': 'ConvNeXt', 'arch': 'atto'}
    for backbone, shapes in ((two, r'\(1, 256, 4, 4\), \(1, 512, 2, 2\)'), (pooled, r'\(1, 320\)')):
        with pytest.raises(ValueError, match=rf'of shape \[{shapes}\], expected 1 maps \(N, C, h, w\)'):
            check_student('it', Network(backbone, [], []), 1, [64])


def test_a_students_normalisation_is_its_librarys_in_rgb():
    expected = pytest.approx([123.675, 116.28, 103.53], abs=0.01)
    assert describe_student('resnet50', 1).mean == expected
    assert describe_student('regnetx-1.6gf_8xb128_in1k', 1).mean == expected  # which is trained on BGR
    assert describe_student('resnet18_8xb16_cifar10', 1).mean == [125.307, 122.961, 113.8575]


def test_a_training_stands_for_the_diffusion_model_that_it_left(tmp_path):
    (tmp_path / 'pipeline').mkdir()
    (tmp_path / 'pipeline' / 'model_index.json').write_text('{}')
    (tmp_path / 'epoch_1.pth').touch()
    for teacher in (tmp_path, tmp_path / 'epoch_1.pth'):
        with pytest.raises(ValueError, match=f'The diffusion model that it left is {tmp_path}/pipeline'):
            describe_teacher(str(teacher))


def test_a_published_checkpoint_is_known_by_its_name(tmp_path):
    path = tmp_path / '256x256_diffusion_uncond.pt'
    path.touch()
    expected = {'type': 'ADMTeacher', 'checkpoint': str(path), 'variant': '256-uncond'}
    assert describe_teacher(str(path)) == expected
    assert describe_teacher(str(path), '64')['variant'] == '64'
