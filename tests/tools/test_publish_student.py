"""What is published of a student, and what the model card says of it."""

import ast
import json
import shutil
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from mmcls.configs import as_code
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmpretrain.registry import MODELS
from processes import run_tool
from publishing import (
    RESNET,
    TINY,
    assert_same,
    execute,
    expect_refusal,
    load_by_snippet,
    publish,
    random_backbone,
    save_checkpoint,
    snippets,
    training_config,
)
from safetensors.torch import load_file
from support import ROOT

CONFIGS = ROOT / 'classification_distill' / 'configs'
TIMM = {'type': 'TIMMBackbone', 'model_name': 'resnet10t'}
TIMM_VIT = {'type': 'TIMMFeatureMaps', 'model_name': 'vit_tiny_patch16_224', 'maps': 2, 'img_size': 32}
TIMM_MAPS = TIMM | {'features_only': True, 'out_indices': [2, 4]}
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
    RESNET | {'out_indices': [1, 3], 'base_channels': 8, 'stem_channels': 8},
    {'type': 'MobileNetV2CIFAR'},
    TINY,
    HRNET,
    TIMM_MAPS,
    TIMM_VIT,
]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('settings', STUDENTS, ids=lambda s: s['type'])
def test_every_format_holds_the_student(settings):
    backbone = random_backbone(settings)
    save_checkpoint('epoch_2.pth', backbone, training_config(settings))
    publish('epoch_2.pth', 'published/student')
    use = snippets('published/student')
    Path('published/student').rename('student')
    assert b'site-packages' not in Path('student/student.onnx').read_bytes()  # nothing of this machine

    assert_same(load_by_snippet(use['MMPretrain'], MODELS, 'mmpretrain').state_dict(), backbone.state_dict())
    network = backbone.timm_model if settings['type'].startswith('TIMM') else backbone
    assert_same(execute(use['torch'])['state_dict'], network.state_dict())
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        expected = backbone(images)
    title = next(title for title in use if title.startswith('ONNX Runtime'))
    found = execute(use[title], images=images.numpy())['features']
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert np.abs(a - b.numpy()).max() <= 1e-4 * max(1, b.abs().max().item())


@pytest.mark.parametrize('settings', [TIMM, TIMM_MAPS, TIMM_VIT], ids=['whole', 'maps', 'vit'])
def test_timm_creates_a_timm_student(settings):
    backbone = random_backbone(settings)
    save_checkpoint('epoch_2.pth', backbone, training_config(settings | {'pretrained': True}))
    publish('epoch_2.pth', 'student', '--formats', 'safetensors')
    code = next(code for title, code in snippets('student').items() if title.startswith('timm'))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        names = execute(code, images=images)
        model = names['model'].eval()
        expected, found = backbone(images), names.get('maps') or model(images)
    assert_same(model.state_dict(), backbone.timm_model.state_dict())
    if 'features_only' in settings or 'maps' in settings:
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    else:
        assert torch.allclose(found, expected[0].mean((2, 3)), atol=1e-6)


def test_the_averaged_weights_are_published(capsys):
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


def test_a_real_run_is_published_without_its_teacher(digits, pipeline_folder):
    shutil.copytree(pipeline_folder, 'teacher')
    Path('distill.py').write_text(f"""
_base_ = {str(CONFIGS / 'digits-hint/ddpm-r18_hint.py')!r}
model = dict(backbone=dict(base_channels=4, stem_channels=4), teacher=dict(pretrained='teacher'))
train_dataloader = dict(dataset=dict(data_root={str(digits)!r}, indices=128))
val_dataloader = dict(dataset=dict(data_root={str(digits)!r}))
train_cfg = dict(max_epochs=2, val_interval=1)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1))
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
""")
    code, output = run_tool('train.py', 'distill.py', '--work-dir', 'run')
    assert code == 0, output[-3000:]
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


def test_a_student_of_ordinary_distillation():
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
def test_the_card_says_what_images_and_how_it_was_distilled(decoded, to_rgb, order):
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
    assert {path.name for path in Path('student').iterdir()} == {'student.pth', 'config.json', 'README.md'}
    assert Config.fromfile('student/config.json').pretty_text == text
    assert not any(word in card for word in ('.onnx', '.safetensors'))


def test_a_config_is_written_as_code():
    config = {'norm': {'eps': 1e-5, 'type': 'BN'}, 'stages': {0: [1, (2, 3)], "x': print(): '": None}}
    assert as_code(config['norm']) == "dict(type='BN', eps=1e-05)"
    assert ast.literal_eval(as_code(config['stages'])) == config['stages']


def test_a_config_can_be_given(capsys):
    backbone = random_backbone(TINY)
    save_checkpoint('epoch_2.pth', backbone, '')
    Path('distill.py').write_text(training_config(TINY))
    expect_refusal(capsys, 'epoch_2.pth keeps no config. Give it by --config', 'epoch_2.pth', 'student')
    publish('epoch_2.pth', 'student', '--config', 'distill.py', '--formats', 'pth')
    assert_same(torch.load('student/student.pth')['state_dict'], backbone.state_dict())


def test_onnx_that_differs_is_not_put_in_place(capsys, monkeypatch):
    save_checkpoint('epoch_2.pth', random_backbone(TINY), training_config(TINY))
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, 'InferenceSession', lambda *args, **kwargs: Skewed(session(*args, **kwargs)))
    expect_refusal(capsys, 'differ by 0.001.*Publish without ONNX', 'epoch_2.pth', 'student')


class Skewed:
    def __init__(self, session):
        self.session = session

    def run(self, names, inputs):
        return [value + 1e-3 * max(1, np.abs(value).max()) for value in self.session.run(names, inputs)]
