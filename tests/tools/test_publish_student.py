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
from huggingface_hub import ModelCard
from mmcls import load_student
from mmcls.apis.card import find_license
from mmcls.configs import as_code
from mmcls.errors import MissingFileError
from mmcls.weights import CheckpointError
from mmengine.config import Config
from mmengine.hooks import EMAHook
from processes import run_tool
from publishing import (
    TINY,
    assert_same,
    expect_refusal,
    publish,
    random_backbone,
    save_checkpoint,
    training_config,
)
from safetensors.torch import load_file
from support import ROOT

CONFIGS = ROOT / 'classification_distill' / 'configs'


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


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
    published = load_file('student/model.safetensors')
    assert_same(published, averaged)
    assert not torch.equal(published['conv1.weight'], model['student']['backbone'].conv1.weight)
    assert 'averaged (EMA) weights of epoch 3' in capsys.readouterr().out
    assert '| weights | an average over training (EMA), after 3 epochs' in Path('student/README.md').read_text()


def test_a_real_run_is_published_without_its_teacher(digits, pipeline_folder):
    shutil.copytree(pipeline_folder, 'teacher')
    Path('distill.py').write_text(f"""
_base_ = {str(CONFIGS / 'digits-hint/ddpm-r18_hint.py')!r}
model = dict(backbone=dict(base_channels=4, stem_channels=4), teacher=dict(pretrained='teacher'))
train_dataloader = dict(dataset=dict(indices=128, dataset=dict(data_root={str(digits)!r})))
val_dataloader = dict(dataset=dict(dataset=dict(data_root={str(digits)!r})))
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
    assert_same(load_file('student/model.safetensors'), expected)
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
    assert_same(load_file('student/model.safetensors'), backbone.state_dict())
    card = Path('student/README.md').read_text()
    assert 'distilled by KDClassifier' in card
    assert 'timestep policy' not in card


@pytest.mark.parametrize(
    ('decoded', 'to_rgb', 'order'), [(True, True, 'RGB'), (True, False, 'BGR'), (False, False, 'RGB')]
)
@pytest.mark.parametrize('wrap', [
    lambda dataset: {'type': 'RepeatDataset', 'times': 2, 'dataset': dataset},
    lambda dataset: {'type': 'ConcatDataset', 'datasets': [dataset, dataset]},
], ids=['repeated', 'several'])  # fmt: skip
def test_the_card_says_what_images_and_how_it_was_distilled(decoded, to_rgb, order, wrap):
    pipeline = [{'type': 'LoadImageFromFile'}] if decoded else []
    pipeline += [{'type': 'RandomCrop', 'crop_size': 32, 'padding': 4}, {'type': 'PackInputs'}]
    dataset = {'type': 'CIFAR10', 'data_root': 'data/cifar10', 'pipeline': pipeline}
    text = training_config(
        TINY,
        data_preprocessor={'mean': [1.0, 2.0, 3.0], 'std': [4.0, 5.0, 6.0], 'to_rgb': to_rgb},
        train_dataloader={'dataset': wrap(dataset)},
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
    assert {path.name for path in Path('student').iterdir()} == {'student.pth', 'training.json', 'README.md'}
    kept = Config.fromfile('student/training.json')
    assert kept.pop('published_image_size') == 32
    assert kept.pretty_text == text
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
    expect_refusal(
        capsys, 'differ by 0.001.*Publish without ONNX', 'epoch_2.pth', 'student', '--formats', 'onnx', 'pth'
    )
    publish('epoch_2.pth', 'student')
    assert 'Published without ONNX: ONNX Runtime and torch differ by 0.001' in capsys.readouterr().out
    assert {path.name for path in Path('student').iterdir()} >= {'model.safetensors', 'student.pth', 'README.md'}
    assert not Path('student/student.onnx').exists()
    assert 'ONNX' not in Path('student/README.md').read_text()


class Skewed:
    def __init__(self, session):
        self.session = session

    def run(self, names, inputs):
        return [value + 1e-3 * max(1, np.abs(value).max()) for value in self.session.run(names, inputs)]


def test_nothing_published_names_a_folder_of_this_machine(tmp_path):
    teacher = tmp_path / 'models' / 'a-ddpm'
    teacher.mkdir(parents=True)
    (teacher / 'README.md').write_text('---\nlicense: cc-by-4.0\n---\n# A DDPM\n')
    text = training_config(TINY, work_dir=str(tmp_path / 'run'), load_from=None)
    text = text.replace("'not/here'", repr(str(teacher))).replace("'data/faces'", repr(str(tmp_path / 'faces')))
    save_checkpoint('epoch_2.pth', random_backbone(TINY), text)
    publish('epoch_2.pth', 'student', '--license', 'apache-2.0')
    for path in Path('student').iterdir():
        assert str(tmp_path.parent).encode() not in path.read_bytes(), path
    card = ModelCard.load('student/README.md')
    assert "pretrained='a-ddpm'" in card.text
    assert "| teacher's licence | cc-by-4.0 |" in card.text
    assert json.loads(Path('student/training.json').read_text())['work_dir'] == 'run'
    data = card.data.to_dict()
    assert data.pop('tags') == ['repfusion', 'knowledge-distillation', 'diffusion', 'onnx']
    expected = {'license': 'apache-2.0', 'library_name': 'mmpretrain', 'pipeline_tag': 'image-feature-extraction'}
    assert data == expected


def test_the_card_says_how_good_the_student_was_at_its_checkpoint():
    save_checkpoint('run/epoch_2.pth', random_backbone(TINY), training_config(TINY))  # of iteration 6
    rows = [
        {
            'quality/pixels_agreement': 22.0,
            'quality/pixels_agreement_error': 0.51,
            'quality/pixels_rank': 23.0,
            'step': 0,
        },
        {'quality/student_agreement': 24.0, 'quality/student_rank': 3.0, 'step': 0},
        {'quality/pixels_knn': 20.0, 'quality/pixels_linear': 21.0, 'step': 0},
        {'quality/student_knn': 11.0, 'quality/student_linear': 12.0, 'quality/student_rank': 3.0, 'step': 0},
        {'loss': 0.5, 'iter': 6, 'step': 6},
        {'quality/student_knn': 31.25, 'quality/student_linear': 32.0, 'quality/student_rank': 9.0, 'step': 6},
        {'quality/student_knn': 99.0, 'quality/student_linear': 99.0, 'quality/student_rank': 9.0, 'step': 12},
    ]
    log = Path('run/20260101_000000/vis_data/scalars.json')
    log.parent.mkdir(parents=True)
    log.write_text('\n'.join(map(json.dumps, rows)) + '\n{"loss": 0.4, "it')  # as a full disk leaves it
    publish('run/epoch_2.pth', 'student', '--formats', 'safetensors')
    card = Path('student/README.md').read_text()
    expected = [
        '| features of | by the 10 nearest neighbours | by a linear probe |',
        '|---|---|---|',
        '| this student | 31.2 | 32.0 |',
        '| pixels | 20.0 | 21.0 |',
        '| student before the training | 11.0 | 12.0 |',
    ]
    assert '\n'.join(expected) + '\n\n' in card
    expected = [
        '| features of | neighbours that stay, % (standard error) | effective rank |',
        '|---|---|---|',
        '| this student | 24.0 | 9.0 |',
        '| pixels | 22.0 (0.5) | 23.0 |',
        '| student before the training | 24.0 | 3.0 |',
    ]
    assert '\n'.join(expected) + '\n\n' in card
    assert '| loss | 0.5 |' in card
    assert "| teacher's licence | unknown: see where it is from |" in card


def test_a_folder_without_pth_is_loaded_and_a_damaged_one_is_told():
    save_checkpoint('epoch_2.pth', backbone := random_backbone(TINY), training_config(TINY))
    publish('epoch_2.pth', 'student', '--formats', 'safetensors')
    assert_same(load_student('student').backbone.state_dict(), backbone.state_dict())
    weights = Path('student/model.safetensors')
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match=r'model\.safetensors is damaged'):
        load_student('student')
    Path('student/training.json').unlink()
    with pytest.raises(MissingFileError, match=r'student holds no training\.json'):
        load_student('student')


def test_a_teacher_without_a_source_has_no_licence_of_the_folder_one_is_in(tmp_path, monkeypatch):
    (tmp_path / 'README.md').write_text('---\nlicense: mit\n---\n')
    monkeypatch.chdir(tmp_path)
    assert find_license({'type': 'ADMTeacher', 'variant': '64'}) is None
