"""Students published from checkpoints, taken up again by every library that the model card names."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import mmpose.models  # noqa: F401
import mmseg.models  # noqa: F401
import numpy as np
import publish_student
import pytest
import torch
from mmcls.engine.pretrained import check_pretrained_weights
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS as POSE
from mmpretrain.registry import MODELS
from mmseg.registry import MODELS as SEG
from safetensors.torch import load_file

CONFIGS = Path(__file__).resolve().parents[2] / 'classification_distill' / 'configs'
TIMM = {'type': 'TIMMBackbone', 'model_name': 'resnet10t'}
TIMM_MAPS = TIMM | {'features_only': True, 'out_indices': [2, 4]}
RESNET = {'type': 'ResNet', 'depth': 18}
TINY = {'type': 'WideResNet', 'depth': 10, 'width_factor': 1}
STUDENTS = [
    RESNET,
    {'type': 'ResNet_CIFAR', 'depth': 18, 'out_indices': [1, 3], 'base_channels': 8, 'stem_channels': 8},
    {'type': 'MobileNetV2CIFAR'},
    TINY,
    {'type': 'HRNet', 'arch': 'w18'},
    TIMM,
    TIMM_MAPS,
]


def training_config(backbone, **settings):
    """A distillation's config, as MMEngine writes it into a checkpoint."""
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'RandomResizedCrop', 'scale': 32}, {'type': 'PackInputs'}]
    config = {
        'model': {
            'type': 'RepFusion',
            'teacher': {'type': 'DiffusersTeacher', 'pretrained': 'not/here', 'layers': ['mid_block']},
            'backbone': backbone,
            'timestep_policy': {'type': 'ReinforcePolicy', 'entropy_weight': 0.1},
            'distill_loss': {'type': 'HintLoss', 'loss_weight': 2.0},
        },
        'data_preprocessor': {'mean': [1.0, 2.0, 3.0], 'std': [4.0, 5.0, 6.0], 'to_rgb': True},
        'train_dataloader': {'dataset': {'type': 'CustomDataset', 'data_root': 'data/faces', 'pipeline': pipeline}},
    }
    return Config(config | settings).pretty_text


def random_backbone(settings):
    """With statistics of batch norm that are not those of a new network."""
    backbone = MODELS.build(settings)
    backbone.init_weights()
    for name, value in backbone.state_dict().items():
        if name.endswith(('running_mean', 'running_var')):
            value.uniform_(0.5, 1.5)
    backbone.eval()
    return backbone


def save_checkpoint(path, backbone, text):
    weights = {f'student.backbone.{key}': value for key, value in backbone.state_dict().items()}
    meta = {'cfg': text, 'epoch': 2, 'iter': 6}
    torch.save({'meta': meta, 'state_dict': weights | {'task_head.bias': torch.zeros(2)}}, path)


@pytest.fixture
def publish(monkeypatch, tmp_path):
    """Runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['publish_student.py', *map(str, arguments)])
        publish_student.main()
        init_default_scope('mmpretrain')

    return run


@pytest.fixture
def refuse(publish, capsys):
    """Runs the command, which must end with the message and leave nothing."""

    def run(message, *arguments):
        before = set(Path.cwd().iterdir())
        with pytest.raises(SystemExit, match='2'):
            publish(*arguments)
        assert re.search(message, capsys.readouterr().err)
        assert set(Path.cwd().iterdir()) == before

    return run


def snippets(folder):
    """The card's Python, by the words before it."""
    found = re.findall(r'^([^\n]+):\n\n```python\n(.*?)\n```', (folder / 'README.md').read_text(), re.MULTILINE | re.DOTALL)
    return dict(found)


def execute(code, **names):
    exec(code, names)
    return names


def load_by_snippet(code, registry, scope):
    """Build the backbone that a snippet shows, check its weights as training does, and load them."""
    init_default_scope(scope)
    config = {'model': execute(code)['model']}
    module = torch.nn.ModuleDict({'backbone': registry.build(config['model']['backbone'])})
    check_pretrained_weights(module, config)
    module['backbone'].init_weights()
    module.eval()
    return module['backbone']


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize('settings', STUDENTS, ids=lambda s: '-'.join(str(v) for v in s.values()))
def test_every_format_holds_the_student(publish, settings):
    backbone = random_backbone(settings)
    save_checkpoint('epoch_2.pth', backbone, training_config(settings))
    publish('epoch_2.pth', 'published/student')
    use = snippets(Path('published/student'))
    Path('published/student').rename('student')

    assert_same(load_by_snippet(use['MMPretrain'], MODELS, 'mmpretrain').state_dict(), backbone.state_dict())
    network = backbone.timm_model if settings['type'] == 'TIMMBackbone' else backbone
    assert_same(execute(use['torch'])['state_dict'], network.state_dict())
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        expected = backbone(images)
    title = next(title for title in use if title.startswith('ONNX Runtime'))
    found = execute(use[title], images=images.numpy())['features']
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert np.abs(a - b.numpy()).max() <= 1e-4 * max(1, b.abs().max().item())


@pytest.mark.parametrize('settings', [TIMM, TIMM_MAPS], ids=['whole', 'maps'])
def test_timm_creates_a_timm_student(publish, settings):
    backbone = random_backbone(settings)
    save_checkpoint('epoch_2.pth', backbone, training_config(settings | {'pretrained': True}))
    publish('epoch_2.pth', 'student', '--formats', 'safetensors')
    code = next(code for title, code in snippets(Path('student')).items() if title.startswith('timm'))
    model = execute(code)['model'].eval()
    assert_same(model.state_dict(), backbone.timm_model.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected, found = backbone(images), model(images)
    if 'features_only' in settings:
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    else:
        assert torch.allclose(found, expected[0].mean((2, 3)), atol=1e-6)


def test_mmseg_and_mmpose_take_a_resnet_and_an_hrnet(publish):
    resnet = random_backbone(RESNET)
    save_checkpoint('epoch_2.pth', resnet, training_config(RESNET))
    publish('epoch_2.pth', 'r18', '--formats', 'pth')
    use = snippets(Path('r18'))
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
    settings = {'type': 'HRNet', 'extra': hrnet.extra, 'norm_cfg': {'type': 'BN'}}
    native = snippets(Path('hrnet'))['MMSegmentation and MMPose, whose HRNet has the same tensors']
    for registry, scope in ((SEG, 'mmseg'), (POSE, 'mmpose')):
        assert_same(loaded(registry, scope, native, settings).state_dict(), hrnet.state_dict())


def loaded(registry, scope, snippet, settings):
    """A downstream config's backbone, with the card's snippet merged into it as a config of its own would be."""
    config = Config({'model': {'backbone': settings}})
    config.merge_from_dict({'model': execute(snippet)['model']})
    return load_by_snippet(f'model = {config.model.to_dict()!r}', registry, scope)


@pytest.mark.parametrize(('registry', 'scope'), [(SEG, 'mmseg'), (POSE, 'mmpose')], ids=['mmseg', 'mmpose'])
def test_mmseg_and_mmpose_take_a_backbone_that_they_lack(publish, registry, scope):
    backbone = random_backbone(TINY)
    save_checkpoint('epoch_2.pth', backbone, training_config(TINY))
    publish('epoch_2.pth', 'student', '--formats', 'pth')
    code = snippets(Path('student'))['MMSegmentation and MMPose']
    assert execute(code)['custom_imports']['imports'] == ['mmcls']
    assert_same(load_by_snippet(code, registry, scope).state_dict(), backbone.state_dict())


def test_mmpose_takes_mobilenet_and_mmseg_by_scope(publish):
    settings = {'type': 'MobileNetV2'}
    backbone = random_backbone(settings)
    save_checkpoint('epoch_2.pth', backbone, training_config(settings))
    publish('epoch_2.pth', 'student', '--formats', 'pth')
    use = snippets(Path('student'))
    native = loaded(POSE, 'mmpose', use['MMPose, whose MobileNetV2 has the same tensors'], settings)
    for found in (native, load_by_snippet(use['MMSegmentation'], SEG, 'mmseg')):
        assert_same(found.state_dict(), backbone.state_dict())


def test_the_averaged_weights_are_published(publish, capsys):
    """MMEngine's EMAHook saves the average as ``state_dict``, and as ``ema_state_dict`` the weights in training."""
    model = torch.nn.ModuleDict({'student': torch.nn.ModuleDict({'backbone': random_backbone(TINY)})})
    hook, runner = EMAHook(momentum=0.1), SimpleNamespace(model=model)
    hook.before_run(runner)
    for _ in range(3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += torch.randn_like(parameter)
        hook.ema_model.update_parameters(model)
    checkpoint = {'meta': {'cfg': training_config(TINY), 'epoch': 3}, 'state_dict': model.state_dict()}
    hook.before_save_checkpoint(runner, checkpoint)
    torch.save(checkpoint, 'epoch_3.pth')

    publish('epoch_3.pth', 'student', '--formats', 'safetensors')
    averaged = hook.ema_model.module['student']['backbone'].state_dict()
    published = load_file('student/student.safetensors')
    assert_same(published, averaged)
    assert not torch.equal(published['conv1.weight'], model['student']['backbone'].conv1.weight)
    assert 'averaged (EMA) weights of epoch 3' in capsys.readouterr().out
    assert '| weights | an average over training (EMA), after 3 epochs' in Path('student/README.md').read_text()
