"""A published student of every kind is, in each library that its card names, the function that was distilled."""

import json
from pathlib import Path

import pytest
import timm
import torch
from mmcls.apis.timm_folder import POOLINGS
from mmcls.models import RepFusion
from mmengine.config import Config
from mmpretrain.registry import MODELS
from publishing import (
    RESNET,
    TINY,
    execute,
    load_by_snippet,
    publish,
    random_backbone,
    save_checkpoint,
    snippets,
    training_config,
)
from torch import Tensor, nn

SIZE = 64
OTHERS = (75, 102)  # height and width that no stride divides


def of_timm(name: str, maps: int | None = None, **options) -> dict:
    if maps is None:
        return {'type': 'TIMMBackbone', 'model_name': name} | options
    return {'type': 'TIMMFeatureMaps', 'model_name': name, 'maps': maps} | options


TIMM_SWIN = {'img_size': SIZE, 'embed_dim': 8, 'depths': (1, 1, 2, 1), 'num_heads': (1, 1, 2, 2), 'window_size': 2}
SWIN = {'embed_dims': 8, 'depths': [1, 2, 1, 1], 'num_heads': [1, 1, 2, 2]}
VIT = {'embed_dims': 16, 'num_layers': 2, 'num_heads': 2, 'feedforward_channels': 32}
HRNET = {
    f'stage{i}': {
        'num_modules': 1,
        'num_branches': i,
        'block': 'BOTTLENECK' if i == 1 else 'BASIC',
        'num_blocks': [1] * i,
        'num_channels': [8, 16, 32, 64][:i],
        'multiscale_output': True,
    }
    for i in (1, 2, 3, 4)
}
# As distill_folder writes them: backbone, what timm's model gives, and whether other sizes are taken.
STUDENTS = {
    'timm ResNet': (of_timm('resnet10t'), 'average', True),
    'timm ResNet, maps': (of_timm('resnet10t', features_only=True, out_indices=[2, 4]), 'maps', True),
    'timm ConvNeXt': (of_timm('convnext_atto', depths=(1, 1, 1, 1)), 'map', True),
    'timm ConvNeXt, two maps': (of_timm('convnext_atto', 2, depths=(1, 1, 1, 1)), 'intermediates', True),
    'timm MobileNet': (of_timm('mobilenetv3_small_050'), 'map', True),
    'timm ViT': (of_timm('vit_tiny_patch16_224', 2, img_size=SIZE, depth=2), 'average', False),
    'timm Swin': (of_timm('swin_tiny_patch4_window7_224', 1, **TIMM_SWIN), 'average', False),
    'ResNet': (RESNET | {'out_indices': [1, 3], 'base_channels': 8, 'stem_channels': 8}, None, True),
    'ConvNeXt': (
        {
            'type': 'ConvNeXt',
            'arch': {'depths': [1, 1, 1, 1], 'channels': [8, 8, 16, 24]},
            'gap_before_final_norm': False,
        },
        None,
        True,
    ),
    'MobileNet': ({'type': 'MobileNetV2CIFAR', 'widen_factor': 0.25}, None, True),
    'ViT': (
        {'type': 'VisionTransformer', 'arch': VIT, 'img_size': SIZE, 'patch_size': 16, 'out_type': 'featmap'},
        None,
        False,
    ),
    'Swin': ({'type': 'SwinTransformer', 'arch': SWIN, 'img_size': SIZE, 'pad_small_map': True}, None, False),
    'WideResNet': (TINY, None, True),
    'HRNet': ({'type': 'HRNet', 'extra': HRNET}, None, False),  # its branches fit at multiples of 32 pixels alone
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def distilled(backbone: nn.Module, text: str, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """The maps that a distillation compares, and the last one's averages as a pooled loss takes them."""
    config = Config.fromstring(text, '.py')
    preprocessor = MODELS.build({'type': 'ClsDataPreprocessor'} | config.data_preprocessor)
    bgr = (255 * images).flip(1)  # as OpenCV decodes them
    inputs = preprocessor({'inputs': bgr})['inputs']
    model = RepFusion.__new__(RepFusion)
    nn.Module.__init__(model)
    model.student = nn.ModuleDict({'backbone': backbone})
    with torch.no_grad():
        maps = list(model.extract_feat(inputs))
    return maps, maps[-1].mean((2, 3))


def expect_same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert [each.shape for each in found] == [each.shape for each in expected]
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max().clamp_min(1)


@pytest.mark.parametrize('kind', STUDENTS)
def test_every_library_gives_what_was_distilled(kind):
    settings, gives, any_size = STUDENTS[kind]
    trained_on = SIZE // 2 if any_size else SIZE  # at which the last map of some has a single place
    backbone, text = random_backbone(settings), training_config(settings, trained_on)
    save_checkpoint('epoch_2.pth', backbone, text)
    publish('epoch_2.pth', 'published/student')
    use = snippets('published/student')
    Path('published/student').rename('student')
    images = torch.rand(5, 3, SIZE, SIZE)  # so that the last map has four places or more
    maps, features = distilled(backbone, text, images)
    normalized = (255 * images - torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)) / torch.tensor([4.0, 5, 6]).view(3, 1, 1)

    with torch.no_grad():
        found = execute(use.pop('RepFusion, with RGB images (N, 3, H, W) in [0, 1]'), images=images)
        expect_same([*found['maps'], found['features']], [*maps, features])
        same = load_by_snippet(use.pop('MMPretrain'), MODELS, 'mmpretrain')
        expect_same(list(same(normalized)), maps)
        network = backbone.timm_model if settings['type'].startswith('TIMM') else backbone
        (title,) = (title for title in use if title.startswith('torch'))
        network.load_state_dict(execute(use.pop(title))['state_dict'], strict=True)
        assert (gives is not None) == any(title.startswith('timm') for title in use)
        if gives:
            found = execute(use.pop('timm, with normalised images (N, 3, H, W)'), images=normalized)
            expect_same([found['features']], [features])
            if 'maps' in found:
                expect_same(list(found['maps']), maps)
            pixel = found['transform'].transforms[-1](images[0])
            assert torch.allclose(pixel, normalized[0], atol=1e-4)

    (title,) = (title for title in use if title.startswith('ONNX'))
    assert ('any size' in title) == any_size
    code = use.pop(title)
    for size in [(SIZE, SIZE), *([OTHERS] if any_size else [])]:
        for number in (1, 4):
            images = torch.rand(number, 3, *size)
            maps, features = distilled(backbone, text, images)
            found = execute(code, images=images.numpy())
            expect_same([*map(torch.from_numpy, found['maps']), torch.from_numpy(found['features'])], [*maps, features])
    assert not [title for title in use if not title.startswith('MM')]
    assert b'site-packages' not in Path('student/student.onnx').read_bytes()  # nothing of this machine


def test_timm_fine_tunes_and_describes_a_student():
    settings = of_timm('convnext_atto', depths=(1, 1, 1, 1))
    save_checkpoint('epoch_2.pth', random_backbone(settings), training_config(settings | {'pretrained': True}))
    publish('epoch_2.pth', 'student', '--formats', 'safetensors')
    described = json.loads(Path('student/config.json').read_text())
    assert (described['architecture'], described['num_classes'], described['num_features']) == ('convnext_atto', 0, 320)
    assert described['global_pool'] == described['model_args']['global_pool'] == ''
    assert described['pretrained_cfg']['input_size'] == [3, 32, 32]
    assert described['pretrained_cfg']['interpolation'] == 'bilinear'
    classifier = timm.create_model('local-dir:student', pretrained=True, num_classes=7, global_pool='avg')
    assert classifier(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    weights = torch.load('epoch_2.pth')['state_dict']['student.backbone.timm_model.stem.0.weight']
    assert torch.equal(classifier.stem[0].weight, weights)


def test_timm_is_told_nothing_where_it_would_give_something_else(monkeypatch):
    monkeypatch.setattr('mmcls.apis.timm_folder.POOLINGS', POOLINGS[:3])
    settings = of_timm('convnext_atto', depths=(1, 1, 1, 1))
    save_checkpoint('epoch_2.pth', random_backbone(settings), training_config(settings))
    publish('epoch_2.pth', 'student', '--formats', 'safetensors')
    assert not Path('student/config.json').exists()
    assert not [title for title in snippets('student') if title.startswith('timm')]
