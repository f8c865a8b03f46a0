"""Students published from checkpoints, taken up again by every library that the model card names."""

import json
import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import mmpose.models  # noqa: F401
import mmseg.models  # noqa: F401
import numpy as np
import onnxruntime
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
HRNET = {
    'type': 'HRNet',
    'extra': {
        f'stage{i}': {
            'num_modules': 1,
            'num_branches': i,
            'block': 'BOTTLENECK' if i == 1 else 'BASIC',
            'num_blocks': [1] * i,
            'num_channels': [8, 16, 32, 64][:i],
            'multiscale_output': True,
        }
        for i in (1, 2, 3, 4)
    },
}
STUDENTS = [
    RESNET,
    {'type': 'ResNet_CIFAR', 'depth': 18, 'out_indices': [1, 3], 'base_channels': 8, 'stem_channels': 8},
    {'type': 'MobileNetV2CIFAR'},
    TINY,
    HRNET,
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
    found = re.findall(
        r'^([^\n]+):\n\n```python\n(.*?)\n```', (folder / 'README.md').read_text(), re.MULTILINE | re.DOTALL
    )
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


@pytest.mark.parametrize('settings', STUDENTS, ids=lambda s: s['type'])
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
    extra = hrnet.extra | {'stage4': hrnet.extra['stage4'] | {'multiscale_output': True}}  # as MMPose has it for faces
    settings = {'type': 'HRNet', 'extra': extra, 'norm_cfg': {'type': 'BN'}}
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


def test_a_real_run_is_published_without_its_teacher(digits, pipeline_folder, publish, tmp_path):
    shutil.copytree(pipeline_folder, 'teacher')
    Path('distill.py').write_text(f"""
_base_ = {str(CONFIGS / 'digits-hint/ddpm-r18_hint.py')!r}
model = dict(backbone=dict(base_channels=4, stem_channels=4), teacher=dict(pretrained='teacher'))
train_dataloader = dict(dataset=dict(data_root={str(digits)!r}, indices=128))
val_dataloader = dict(dataset=dict(data_root={str(digits)!r}, indices=64))
train_cfg = dict(max_epochs=2, val_interval=1)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1))
custom_hooks = [dict(type='EMAHook', momentum=0.1), dict(type='TimestepPolicyHook')]
""")
    command = [sys.executable, CONFIGS.parents[1] / 'tools/train.py', 'distill.py', '--work-dir', 'run']
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {'OMP_NUM_THREADS': '1'})
    assert result.returncode == 0, result.stderr[-3000:]
    shutil.rmtree('teacher')

    weights = torch.load('run/epoch_1.pth', weights_only=False)['state_dict']
    publish('run/epoch_1.pth', 'student')
    expected = {k.removeprefix('student.backbone.'): v for k, v in weights.items() if k.startswith('student.backbone.')}
    assert_same(load_file('student/student.safetensors'), expected)
    card = Path('student/README.md').read_text()
    rows = [json.loads(row) for row in next(Path('run').glob('*/vis_data/scalars.json')).read_text().splitlines()]
    for key in ('loss_task', 'accuracy/top1'):  # of the first epoch, whose weights these are
        first, second = [row[key] for row in rows if key in row and row['step'] in ((1, 2) if '/' in key else (2, 4))]
        assert f'| {key} | {first:.4g} |' in card
        assert first != second
    assert "task head on the teacher's features" in card


def test_a_student_of_ordinary_distillation(publish):
    config = Config.fromfile(next(iter(sorted((CONFIGS / 'kd').glob('*digits*.py')))))
    backbone = random_backbone(config.model.backbone)
    save_checkpoint('epoch_2.pth', backbone, config.pretty_text)
    publish('epoch_2.pth', 'student', '--formats', 'safetensors')
    assert_same(load_file('student/student.safetensors'), backbone.state_dict())
    card = Path('student/README.md').read_text()
    assert 'distilled by KDClassifier' in card
    assert 'timestep policy' not in card


@pytest.mark.parametrize(
    ('decoded', 'to_rgb', 'order'), [(True, True, 'RGB'), (True, False, 'BGR'), (False, False, 'RGB')]
)
def test_the_card_says_what_images_and_how_it_was_distilled(publish, decoded, to_rgb, order):
    pipeline = [{'type': 'LoadImageFromFile'}] if decoded else []
    pipeline += [{'type': 'RandomCrop', 'crop_size': 32, 'padding': 4}, {'type': 'PackInputs'}]
    dataset = {'type': 'CIFAR10', 'data_root': 'data/cifar10', 'pipeline': pipeline}
    text = training_config(
        TINY,
        data_preprocessor={'mean': [1.0, 2.0, 3.0], 'std': [4.0, 5.0, 6.0], 'to_rgb': to_rgb},
        train_dataloader={'dataset': {'type': 'RepeatDataset', 'times': 2, 'dataset': dataset}},
    )
    save_checkpoint('epoch_2.pth', random_backbone(TINY), text)
    publish('epoch_2.pth', 'student', '--formats', 'pth')
    card = Path('student/README.md').read_text()
    for line in (
        f'| images | 32x32 pixels, {order}, values from 0 to 255 |',
        '| normalisation | (image - mean) / std, mean `[1.0, 2.0, 3.0]`, std `[4.0, 5.0, 6.0]` |',
        '| feature maps (C, h, w) | (64, 8, 8) |',
        '| data set | CIFAR10, `data/cifar10` |',
        "| teacher | `dict(type='DiffusersTeacher', layers=['mid_block'], pretrained='not/here')` |",
        "| distillation loss | `dict(type='HintLoss', loss_weight=2.0)` |",
        "| timestep policy | `dict(type='ReinforcePolicy', entropy_weight=0.1)` |",
        f'| `student.pth` | `{sha256(Path("student/student.pth").read_bytes()).hexdigest()}` |',
    ):
        assert line in card.splitlines()
    assert set(Path('student').iterdir()) == {Path('student/student.pth'), Path('student/README.md')}
    assert not any(word in card for word in ('.onnx', '.safetensors'))


def test_a_config_can_be_given(publish, refuse):
    backbone = random_backbone(TINY)
    save_checkpoint('epoch_2.pth', backbone, '')
    Path('distill.py').write_text(training_config(TINY))
    refuse('epoch_2.pth keeps no config. Give it by --config', 'epoch_2.pth', 'student')
    publish('epoch_2.pth', 'student', '--config', 'distill.py', '--formats', 'pth')
    assert_same(torch.load('student/student.pth')['state_dict'], backbone.state_dict())


def test_onnx_that_differs_is_not_put_in_place(refuse, monkeypatch):
    save_checkpoint('epoch_2.pth', random_backbone(TINY), training_config(TINY))
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, 'InferenceSession', lambda *args, **kwargs: Skewed(session(*args, **kwargs)))
    refuse('differ by 0.001.*Publish without ONNX', 'epoch_2.pth', 'student')


class Skewed:
    def __init__(self, session):
        self.session = session

    def run(self, names, inputs):
        return [value + 1e-3 * max(1, np.abs(value).max()) for value in self.session.run(names, inputs)]


def test_onnx_says_nothing_of_this_machine(publish):
    save_checkpoint('epoch_2.pth', random_backbone(TINY), training_config(TINY))
    publish('epoch_2.pth', 'student', '--formats', 'onnx')
    assert b'site-packages' not in Path('student/student.onnx').read_bytes()


def test_what_cannot_be_published_is_refused(refuse):
    backbone = random_backbone(TINY)
    save_checkpoint('epoch_2.pth', backbone, training_config(TINY))
    Path('taken').mkdir()
    refuse('taken exists. Give the name of a new folder', 'epoch_2.pth', 'taken')
    refuse("There is no file 'epoch_9.pth'", 'epoch_9.pth', 'student')
    refuse("There is no file 'no.py'", 'epoch_2.pth', 'student', '--config', 'no.py')

    Path('damaged.pth').write_bytes(Path('epoch_2.pth').read_bytes()[:1000])
    refuse('damaged.pth is damaged', 'damaged.pth', 'student')
    torch.save({'state_dict': {'backbone.a': torch.zeros(1), 'head.fc.b': torch.zeros(1)}}, 'classifier.pth')
    message = r"no tensor is named student\.backbone\.\*\. Prefixes that it holds: 'backbone\.' \(1 tensors\)"
    refuse(message, 'classifier.pth', 'student')
    save_checkpoint('other.pth', backbone, training_config(TINY | {'depth': 16}))
    refuse(r'does not describe the student of other\.pth.*\n*.*Missing key', 'other.pth', 'student')
    save_checkpoint('sizeless.pth', backbone, training_config(TINY, train_dataloader={'dataset': {'pipeline': []}}))
    refuse('does not say how large its images are. Give --image-size', 'sizeless.pth', 'student')


class Code:
    def __reduce__(self):
        return os.system, ('touch executed',)


@pytest.mark.parametrize('where', ['meta', 'message_hub'])
def test_code_in_a_checkpoint_does_not_run(refuse, where):
    weights = {f'student.backbone.{key}': value for key, value in random_backbone(TINY).state_dict().items()}
    torch.save({'meta': {'cfg': training_config(TINY)}, 'state_dict': weights} | {where: {'x': Code()}}, 'epoch_2.pth')
    refuse('holds more than tensors and plain values', 'epoch_2.pth', 'student')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ("import os\nos.system('touch executed')", 'is not plain data'),
        ("model = __import__('os').system('touch executed')", 'is not plain data'),
        ("model = dict(backbone=dict(type='os.system', command='touch executed'))", r"asks for \['os.system'\]"),
        (
            "model = dict(backbone=dict(type='ResNet', depth=18, norm_cfg=dict(type='os.system')))",
            r"asks for \['os.system'\]",
        ),
        ("model = dict(backbone=dict(type='RepFusion'))", 'asks for RepFusion, expected a backbone'),
        ("model = dict(backbone=dict(type='Unheard'))", 'asks for Unheard, expected a backbone'),
    ],
)
def test_code_in_a_checkpoints_config_does_not_run(refuse, text, message):
    save_checkpoint('epoch_2.pth', random_backbone(TINY), text)
    refuse(message, 'epoch_2.pth', 'student')
