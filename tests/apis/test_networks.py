"""Which networks of timm and MMPretrain are students, by name."""

from collections import Counter

import pytest
import timm
import torch
from mmcls.apis.networks import describe_student, feature_shapes
from mmcls.errors import UnusableInputError
from mmpretrain.apis import list_models
from mmpretrain.registry import MODELS


def maps_of(student, size):
    backbone = MODELS.build(student.backbone)
    backbone.eval()
    features = backbone(torch.zeros(2, 3, size, size))
    return MODELS.build(student.neck)(features) if student.neck else features


@pytest.mark.parametrize(
    ('name', 'settings'),
    [
        ('resnet18_8xb16_cifar10', {'out_indices': [2, 3]}),
        ('mobilenet-v2_8xb32_in1k', {'out_indices': [6, 7]}),
        ('convnext-v2-atto_fcmae-pre_3rdparty_in1k', {'out_indices': [-2, -1], 'gap_before_final_norm': False}),
        ('resnet10t', {'type': 'TIMMFeatureMaps', 'maps': 2}),
        ('vit_tiny_patch16_224', {'type': 'TIMMFeatureMaps', 'maps': 2, 'img_size': 64}),
    ],
)
def test_students_give_a_map_for_each_layer(name, settings):
    student = describe_student(name, 2, 64)
    assert settings.items() <= student.backbone.items()
    maps = maps_of(student, 64)
    assert [tuple(feature.shape[1:]) for feature in maps] == student.shapes
    assert [feature.dim() for feature in maps] == [4, 4]
    assert maps[0].shape[2] >= maps[1].shape[2]


@pytest.mark.parametrize(
    ('name', 'kind', 'shape'),
    [
        ('resnet10t', 'TIMMBackbone', (512, 2, 2)),
        ('efficientvit_b0', 'TIMMFeatureMaps', (128, 2, 2)),  # whose pooling cannot be left out
        ('mambaout_femto', 'TIMMFeatureMaps', (288, 2, 2)),  # (N, h, w, C)
        ('swin_tiny_patch4_window7_224', 'TIMMFeatureMaps', (768, 2, 2)),  # likewise, and made for 224 pixels
        ('deit_tiny_distilled_patch16_224', 'TIMMFeatureMaps', (192, 4, 4)),  # tokens, two of which are of no place
        ('swin-tiny_16xb64_in1k', 'SwinTransformer', (768, 2, 2)),  # whose windows are larger than the map
        ('beit-base-p16_beit-in21k-pre_3rdparty_in1k', 'BEiTViT', (768, 4, 4)),  # made for 224 pixels
        ('hrnet-w18_3rdparty_8xb32_in1k', 'HRNet', (2048, 2, 2)),  # four maps, fused
        ('mlp-mixer-base-p16_3rdparty_64xb64_in1k', 'MlpMixer', (768, 4, 4)),  # (N, C, h * w)
    ],
)
def test_networks_of_all_kinds_are_students(name, kind, shape):
    student = describe_student(name, 1, 64)
    assert (student.backbone['type'], student.shapes) == (kind, [shape])
    assert tuple(maps_of(student, 64)[0].shape) == (2, *shape)


def test_tokens_lie_in_the_map_where_their_patches_are():
    backbone = MODELS.build({'type': 'TIMMFeatureMaps', 'model_name': 'vit_tiny_patch16_224', 'img_size': 64})
    backbone.eval()
    with torch.no_grad():
        tokens = backbone.timm_model.forward_features(images := torch.randn(1, 3, 64, 64))
        (found,) = backbone(images)
    assert torch.allclose(found, tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 4)), atol=1e-5)


def test_a_network_as_a_whole_has_the_tensors_of_its_maps_and_trains_what_they_depend_on():
    maps = MODELS.build({'type': 'TIMMFeatureMaps', 'model_name': 'mobilenetv3_small_050'})
    whole = MODELS.build({'type': 'TIMMBackbone', 'model_name': 'mobilenetv3_small_050'})
    maps.load_state_dict(whole.state_dict())
    maps(torch.randn(2, 3, 64, 64))[0].sum().backward()
    trained = {name for name, parameter in maps.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in maps.named_parameters() if parameter.grad is not None}
    assert {name for name, _ in maps.named_parameters()} - trained == {
        f'timm_model.conv_head.{name}' for name in ('weight', 'bias')
    }


def test_trained_weights_of_timm_survive_the_initialisation(tmp_path):
    settings = {'type': 'TIMMFeatureMaps', 'model_name': 'vit_tiny_patch16_224', 'img_size': 32}
    weights = MODELS.build(settings).timm_model.state_dict()
    torch.save(weights, tmp_path / 'vit.pth')
    backbone = MODELS.build(settings | {'checkpoint_path': str(tmp_path / 'vit.pth')})
    backbone.init_weights()
    assert all(torch.equal(value, weights[key]) for key, value in backbone.timm_model.state_dict().items())


@pytest.mark.parametrize(
    ('name', 'maps', 'sentence'),
    [
        ('resnet19', 1, 'neither timm nor MMPretrain has such a model. Near ones: res'),
        ('mobilenet-v3-small-050_3rdparty_in1k', 13, 'cannot be used with images of 64x64 pixels: '),
        ('tinyvit-5m_3rdparty_in1k', 1, 'input feature has wrong size. It was made for 224 px: try --image-size 224'),
        ('tnt-small-p16_3rdparty_in1k', 1, 'it gives features of shape [(384,)], expected 1 maps (C, h, w)'),
        ('blip-base_3rdparty_vqa', 1, 'it has no backbone'),
    ],
)
def test_what_is_no_student_is_refused_with_the_reason(name, maps, sentence):
    with pytest.raises(UnusableInputError) as error:
        describe_student(name, maps, 64)
    assert sentence in str(error.value)
    assert f'--student {name}' in str(error.value)


def test_a_students_normalisation_is_its_librarys_in_rgb():
    expected = pytest.approx([123.675, 116.28, 103.53], abs=0.01)
    assert describe_student('resnet50', 1, 32).mean == expected
    assert describe_student('regnetx-1.6gf_8xb128_in1k', 1, 32).mean == expected  # which is trained on BGR
    assert describe_student('resnet18_8xb16_cifar10', 1, 32).mean == [125.307, 122.961, 113.8575]


def test_shapes_are_found_without_computing():
    assert feature_shapes({'type': 'TIMMBackbone', 'model_name': 'resnet50'}, None, 4096) == [(2048, 128, 128)]


@pytest.mark.slow
@pytest.mark.parametrize(('library', 'size', 'share'), [
    ('timm', None, 0.98), ('timm', 64, 0.97), ('mmpretrain', 224, 0.85), ('mmpretrain', 64, 0.84),
])  # fmt: skip
def test_every_name_is_a_student_or_refused_by_a_sentence(library, size, share, capsys):
    """All of both libraries: about half an hour, and 12 GiB."""
    names = timm.list_models() if library == 'timm' else list_models()
    counts = Counter()
    for name in names:
        try:
            student = describe_student(name, 1, size or timm.get_pretrained_cfg(name).input_size[-1])
        except UnusableInputError as error:
            counts['refused'] += 1
            with capsys.disabled():
                print(error)
        else:
            counts[student.backbone['type'] if library == 'timm' else 'student'] += 1
    with capsys.disabled():
        print(library, len(names), dict(counts))
    assert 1 - counts['refused'] / len(names) >= share
