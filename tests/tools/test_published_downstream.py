"""Published students in MMSegmentation and MMPose, by the code that the model card shows."""

import mmpose.models  # noqa: F401
import mmseg.models  # noqa: F401
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS as POSE
from mmseg.registry import MODELS as SEG
from publishing import (
    RESNET,
    TINY,
    assert_same,
    execute,
    load_by_snippet,
    publish,
    random_backbone,
    save_checkpoint,
    snippets,
    training_config,
)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_mmseg_and_mmpose_take_a_resnet_and_an_hrnet():
    resnet = random_backbone(RESNET)
    save_checkpoint('epoch_2.pth', resnet, training_config(RESNET))
    publish('epoch_2.pth', 'r18', '--formats', 'pth')
    use = snippets('r18')
    bisenet = {
        'type': 'BiSeNetV1',
        'in_channels': 3,
        'context_channels': (128, 256, 512),
        'spatial_channels': (64, 64, 64, 128),
        'out_indices': (0, 1, 2),
        'out_channels': 256,
        'norm_cfg': {'type': 'BN'},
        'backbone_cfg': RESNET | {'norm_cfg': {'type': 'BN'}},
    }
    nested = loaded(SEG, 'mmseg', use["MMSegmentation's BiSeNetV1"], bisenet)
    assert_same(nested.context_path.backbone.state_dict(), resnet.state_dict())
    native = use['MMSegmentation and MMPose, whose ResNet has the same tensors']
    for registry, scope in ((SEG, 'mmseg'), (POSE, 'mmpose')):
        settings = RESNET | {'norm_cfg': {'type': 'BN'}}
        assert_same(loaded(registry, scope, native, settings).state_dict(), resnet.state_dict())

    init_default_scope('mmpretrain')
    hrnet = random_backbone({'type': 'HRNet', 'arch': 'w18'})
    save_checkpoint('hrnet.pth', hrnet, training_config({'type': 'HRNet', 'arch': 'w18'}))
    publish('hrnet.pth', 'hrnet', '--formats', 'pth')
    extra = hrnet.extra | {'stage4': hrnet.extra['stage4'] | {'multiscale_output': True}}  # as MMPose has it for faces
    settings = {'type': 'HRNet', 'extra': extra, 'norm_cfg': {'type': 'BN'}}
    native = snippets('hrnet')['MMSegmentation and MMPose, whose HRNet has the same tensors']
    for registry, scope in ((SEG, 'mmseg'), (POSE, 'mmpose')):
        assert_same(loaded(registry, scope, native, settings).state_dict(), hrnet.state_dict())


def loaded(registry, scope, snippet, settings):
    """A downstream config's backbone, with the card's snippet merged into it as a config of its own would be."""
    config = Config({'model': {'backbone': settings}})
    config.merge_from_dict({'model': execute(snippet)['model']})
    return load_by_snippet(f'model = {config.model.to_dict()!r}', registry, scope)


@pytest.mark.parametrize(('registry', 'scope'), [(SEG, 'mmseg'), (POSE, 'mmpose')], ids=['mmseg', 'mmpose'])
def test_mmseg_and_mmpose_take_a_backbone_that_they_lack(registry, scope):
    backbone = random_backbone(TINY)
    save_checkpoint('epoch_2.pth', backbone, training_config(TINY))
    publish('epoch_2.pth', 'student', '--formats', 'pth')
    code = snippets('student')['MMSegmentation and MMPose']
    assert execute(code)['custom_imports']['imports'] == ['mmcls']
    assert_same(load_by_snippet(code, registry, scope).state_dict(), backbone.state_dict())


def test_mmpose_takes_mobilenet_and_mmseg_by_scope():
    settings = {'type': 'MobileNetV2'}
    backbone = random_backbone(settings)
    save_checkpoint('epoch_2.pth', backbone, training_config(settings))
    publish('epoch_2.pth', 'student', '--formats', 'pth')
    use = snippets('student')
    native = loaded(POSE, 'mmpose', use['MMPose, whose MobileNetV2 has the same tensors'], settings)
    for found in (native, load_by_snippet(use['MMSegmentation'], SEG, 'mmseg')):
        assert_same(found.state_dict(), backbone.state_dict())
