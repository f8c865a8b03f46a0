"""MMEngine's pure Python configs, whose types are classes: all that reads a config takes them for the names."""

import inspect
from pathlib import Path

import pytest
import torch
from mmcls import models
from mmcls.apis.report.runs import Run
from mmcls.apis.student import read_student
from mmcls.apis.transfer import find_init_cfg
from mmcls.benchmark import data as benchmark_data
from mmcls.benchmark import scaling as benchmark_scaling
from mmcls.configs import find_class, is_a, parse_config, type_name
from mmcls.engine.preflight import MissingDataError, check_channel_order, check_data
from mmcls.models import losses, task_heads, timestep_policies
from mmengine.config import Config
from mmengine.model import PretrainedInit
from mmengine.registry import OPTIMIZERS
from mmpretrain.datasets import CIFAR10, CIFAR100, CustomDataset, ImageNet, LoadImageFromFile, PackInputs
from mmpretrain.models import ResNet_CIFAR
from mmpretrain.registry import MODELS
from processes import run_tool
from support import ROOT

BASE = """
from mmcls.engine import (DataErrorHook, EpochPositionHook, FiniteLossHook, InterruptionHook, IterationSeedHook,
                          SafeCheckpointHook)
from mmcls.visualization import FeaturePictureHook, TimestepHistogramHook
from mmengine.dataset import DefaultSampler
from mmengine.hooks import IterTimerHook, LoggerHook, ParamSchedulerHook
from mmengine.runner import EpochBasedTrainLoop
from mmengine.visualization import LocalVisBackend
from mmpretrain.datasets import CustomDataset, LoadImageFromFile, PackInputs, RandomCrop
from mmpretrain.evaluation import Accuracy
from mmpretrain.visualization import UniversalVisualizer

default_scope = 'mmpretrain'
train_dataloader = dict(
    batch_size=16,
    sampler=dict(type=DefaultSampler, shuffle=True),
    drop_last=True,
    dataset=dict(
        type=CustomDataset,
        data_root='{digits}',
        ann_file='meta/train.txt',
        data_prefix='images',
        metainfo=dict(classes=list('0123456789')),
        pipeline=[dict(type=LoadImageFromFile), dict(type=RandomCrop, crop_size=8), dict(type=PackInputs)]))
val_dataloader = dict(
    batch_size=16,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=CustomDataset,
        data_root='{digits}',
        ann_file='meta/test.txt',
        data_prefix='images',
        pipeline=[dict(type=LoadImageFromFile), dict(type=PackInputs)]))
val_evaluator = dict(type=Accuracy)
val_cfg = dict()
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=1)
default_hooks = dict(
    timer=dict(type=IterTimerHook),
    logger=dict(type=LoggerHook, interval=50),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=SafeCheckpointHook),
    iteration_seed=dict(type=IterationSeedHook),
    epoch_position=dict(type=EpochPositionHook),
    interruption=dict(type=InterruptionHook),
    finite_loss=dict(type=FiniteLossHook),
    data_errors=dict(type=DataErrorHook))
custom_hooks = [
    dict(type=TimestepHistogramHook, interval=1), dict(type=FeaturePictureHook, num_images=2, num_timesteps=2)]
visualizer = dict(type=UniversalVisualizer, vis_backends=[dict(type=LocalVisBackend)])
"""
CONFIG = """
from mmengine.config import read_base

with read_base():
    from .base import *

import mmcls.models as parts
from mmcls.models import ConvConnector, DiffusersTeacher, FeatureStandardizer, HintLoss, PooledMLPHead, RepFusion
from mmengine.model import PretrainedInit
from mmengine.optim import CosineAnnealingLR, OptimWrapper
from mmpretrain.models import ClsDataPreprocessor, ResNet_CIFAR
from torch.optim import AdamW

model = dict(
    type=RepFusion,
    teacher=dict(type=DiffusersTeacher, pretrained='{pipeline}'),
    backbone=dict(type=ResNet_CIFAR, depth=18, stem_channels=8, base_channels=8),
    timestep_policy=dict(type=parts.ReinforcePolicy),
    distill_loss=dict(type=HintLoss),
    connector=dict(type=ConvConnector),
    task_head=dict(type=PooledMLPHead, num_classes=10),
    standardizer=dict(type=FeatureStandardizer, num_bins=2),
    data_preprocessor=dict(type=ClsDataPreprocessor, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True))
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=AdamW, lr=1e-3))
param_scheduler = dict(type=CosineAnnealingLR, T_max=1)
"""


@pytest.fixture
def config(digits, pipeline_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / 'classification_distill')
    for name, text in (('base', BASE), ('distill', CONFIG)):
        (tmp_path / f'{name}.py').write_text(
            text.replace('{digits}', str(digits)).replace('{pipeline}', pipeline_folder)
        )
    return tmp_path / 'distill.py'


def test_a_dry_run_of_one(config):
    code, output = run_tool('train.py', config, '--dry-run')
    assert code == 0, output
    assert 'one training step ran' in output
    assert '1,000 training images' in output
    assert '62 iterations' in output


def test_a_dry_run_names_what_is_wrong(config):
    wrong = ('train_dataloader.dataset.data_root=/no', 'model.data_preprocessor.to_rgb=False')
    code, output = run_tool('train.py', config, '--dry-run', '--cfg-options', *wrong)
    assert code == 1
    assert "data_root='/no' is not there" in output
    assert 'train_dataloader.dataset (CustomDataset) gives BGR' in output


def test_a_training_and_what_reads_its_results(config, tmp_path):
    work_dir = tmp_path / 'run'
    code, output = run_tool('train.py', config, '--work-dir', work_dir)
    assert code == 0, output
    assert (work_dir / 'timestep_histogram.jsonl').is_file()

    run = Run(work_dir, 'run')
    assert (run.model, run.kind, run.start) == ('RepFusion', 'Distillation', 'scratch')
    checkpoint = work_dir / 'epoch_1.pth'
    for config_file in (None, str(config)):
        student = read_student(checkpoint, config_file)
        assert type(student.backbone) is ResNet_CIFAR
    code, output = run_tool('publish_student.py', checkpoint, tmp_path / 'published')
    assert code == 0, output
    card = (tmp_path / 'published/README.md').read_text()
    assert '\n# published: ResNet_CIFAR, distilled by RepFusion\n' in card
    assert '8x8 pixels, RGB' in card
    assert "those of the task head on the teacher's features" in card


def test_a_strangers_config_still_imports_nothing(config, tmp_path):
    work_dir = tmp_path / 'run'
    assert run_tool('train.py', config, '--work-dir', work_dir)[0] == 0
    checkpoint = torch.load(work_dir / 'epoch_1.pth', weights_only=False)
    text = checkpoint['meta']['cfg']
    for foreign in ('mmcls.models.evil.Network', 'os.system', 'mmpretrain.models.HintLoss'):
        checkpoint['meta']['cfg'] = text.replace('mmpretrain.models.ResNet_CIFAR', foreign)
        assert checkpoint['meta']['cfg'] != text
        torch.save(checkpoint, tmp_path / 'foreign.pth')
        with pytest.raises(ValueError, match='expected a backbone of MMPretrain or of mmcls'):
            read_student(tmp_path / 'foreign.pth')


def registered(package, *bases):
    """The classes of a package that configs name."""
    return [
        kind
        for _, kind in inspect.getmembers(package, inspect.isclass)
        if MODELS.module_dict.get(kind.__name__) is kind and issubclass(kind, bases)
    ]


FEATURE_LOSSES = [kind for kind in registered(losses, losses.BaseDistillLoss) if kind.compares == 'features']
POLICIES = registered(timestep_policies, timestep_policies.BaseTimestepPolicy)
HEADS = [kind for kind in registered(task_heads, task_heads.BaseTaskHead)]
SETTINGS = {
    'CRDLoss': {'num_samples': 10, 'num_negatives': 2},
    'FixedPolicy': {'timestep': 10},
    'DecayingPolicy': {'start': 900, 'stop': 100},
    'PooledMLPHead': {'num_classes': 10},
    'LeastSquaresHead': {'num_classes': 10},
    'DenseSegHead': {'num_classes': 3},
    'HeatmapHead': {'num_keypoints': 5},
}
OTHERS = [
    ('connector', models.ConvConnector),
    ('connector', models.ResizeConnector),
    ('standardizer', models.FeatureStandardizer),
    ('backbone', models.MobileNetV2CIFAR),
    ('backbone', models.WideResNet),
]


@pytest.mark.parametrize(('part', 'kind'), [
    *(('distill_loss', kind) for kind in FEATURE_LOSSES),
    *(('timestep_policy', kind) for kind in POLICIES),
    *(('task_head', kind) for kind in HEADS),
    *OTHERS,
])  # fmt: skip
def test_each_part_builds(part, kind, pipeline_folder):
    model = {
        'type': models.RepFusion,
        'teacher': {'type': models.DiffusersTeacher, 'pretrained': pipeline_folder},
        'backbone': {'type': ResNet_CIFAR, 'depth': 18, 'stem_channels': 8, 'base_channels': 8},
        'timestep_policy': {'type': models.UniformPolicy},
        'distill_loss': {'type': models.HintLoss},
        'task_head': {'type': models.PooledMLPHead, 'num_classes': 10},
    }
    model[part] = {'type': kind} | SETTINGS.get(kind.__name__, {})
    built = MODELS.build(Config({'model': model}).model)
    parts = {
        'distill_loss': lambda: built.distill_losses[0],
        'connector': lambda: built.connectors[0],
        'standardizer': lambda: built.standardizers[0],
        'backbone': lambda: built.student['backbone'],
    }
    assert type(parts.get(part, lambda: getattr(built, part))()) is kind


def test_a_config_made_in_python_is_read_as_data():
    config = Config({'model': {'type': models.RepFusion, 'distill_loss': {'type': models.HintLoss}}})
    read = parse_config(config.pretty_text, Path('config.py'))
    assert type_name(read['model']) == 'RepFusion'
    assert find_class('distill_loss', read['model']['distill_loss']) is models.HintLoss
    with pytest.raises(ValueError, match='not plain data'):
        parse_config("model = os.system('true')", Path('config.py'))


@pytest.mark.parametrize('key', ['class', 'scoped', 'dotted'])
def test_every_way_to_say_a_type(key):
    kind = {'class': models.HintLoss, 'scoped': 'mmpretrain.HintLoss', 'dotted': 'mmcls.models.HintLoss'}[key]
    assert find_class('distill_loss', {'type': kind}) is models.HintLoss
    assert is_a({'type': kind}, models.HintLoss)
    assert not is_a({'type': kind}, models.RepFusion)
    assert type_name({'type': kind}) == 'HintLoss'


def test_types_that_are_none():
    with pytest.raises(ValueError, match=r"distill_loss\.type='HintLos' is not registered\. Near ones: HintLoss"):
        find_class('distill_loss', {'type': 'HintLos'})
    with pytest.raises(ValueError, match=r'distill_loss\.type=3 is not registered'):
        find_class('distill_loss', {'type': 3})
    assert find_class('optimizer', {'type': torch.optim.AdamW}, OPTIMIZERS) is torch.optim.AdamW
    assert not is_a({}, models.HintLoss)
    assert not is_a({'type': 'HintLos'}, models.HintLoss)


def test_logits_are_refused_by_name(pipeline_folder):
    model = {
        'type': models.RepFusion,
        'teacher': {'type': models.DiffusersTeacher, 'pretrained': pipeline_folder},
        'backbone': {'type': ResNet_CIFAR, 'depth': 18},
        'timestep_policy': {'type': models.UniformPolicy},
        'distill_loss': {'type': models.LogitKDLoss},
    }
    with pytest.raises(ValueError, match='LogitKDLoss compares logits'):
        MODELS.build(model)


@pytest.mark.parametrize('cifar', [CIFAR10, CIFAR100, 'mmpretrain.CIFAR10', 'CIFAR100'])
def test_data_of_known_classes(cifar, tmp_path):
    folder = tmp_path / (
        'cifar-10-batches-py' if '10' in str(cifar) and '100' not in str(cifar) else 'cifar-100-python'
    )
    (tmp_path / 'other').touch()
    config = {'train_dataloader': {'dataset': {'type': cifar, 'data_root': str(tmp_path)}}}
    with pytest.raises(MissingDataError, match=str(folder)):
        check_data(config, ['train'])
    folder.mkdir()
    (folder / 'data').touch()
    check_data(config, ['train'])


def test_folders_of_imagenets_class(tmp_path):
    (tmp_path / 'val').mkdir()
    dataset = {'type': ImageNet, 'data_root': str(tmp_path), 'split': 'train'}
    with pytest.raises(MissingDataError, match="split='train' is not there"):
        check_data({'train_dataloader': {'dataset': dataset}}, ['train'])


def test_channel_order_of_classes():
    files = {'type': CustomDataset, 'pipeline': [{'type': LoadImageFromFile}, {'type': PackInputs}]}
    for model in (models.RepFusion, models.DDPMTrainer):
        for dataset, right in ((files, True), ({'type': CIFAR10, 'pipeline': [{'type': PackInputs}]}, False)):
            config = {'model': {'type': model}, 'train_dataloader': {'dataset': dataset}}
            check_channel_order(config | {'data_preprocessor': {'to_rgb': right}})
            with pytest.raises(ValueError, match=rf'\({dataset["type"].__name__}\) gives'):
                check_channel_order(config | {'data_preprocessor': {'to_rgb': not right}})


def test_a_downstream_models_start_is_found():
    for kind in (PretrainedInit, 'Pretrained', 'mmengine.model.PretrainedInit'):
        init_cfg = {'type': kind, 'checkpoint': 'student.pth', 'prefix': 'student.backbone.'}
        model = {'backbone': {'type': ResNet_CIFAR, 'init_cfg': init_cfg}}
        assert find_init_cfg(model) == 'model.backbone.init_cfg'


def test_the_benchmarks_know_them():
    config = Config({
        'train_dataloader': {'dataset': {'type': ImageNet}},
        'model': {'teacher': {'type': models.ADMTeacher}},
    })  # fmt: skip
    benchmark_data.check(config)
    benchmark_scaling.check(config, {})
