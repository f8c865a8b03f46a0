import dataclasses
import io
import json
import statistics
import time

import pytest
import torch
from mmcls.benchmark import data as benchmark_data
from mmcls.benchmark import own_process
from mmcls.benchmark import processes as benchmark_processes
from mmcls.benchmark import scaling as benchmark_scaling
from mmcls.benchmark import shapes as benchmark_shapes
from mmcls.benchmark import step as benchmark_step
from mmcls.benchmark.published import PublishedTeacher
from mmcls.benchmark.scaling import Assumptions
from mmcls.models.teachers.diffusers_teacher import DiffusersTeacher
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import TRANSFORMS
from processes import run_tool
from support import door
from test_train import DISTILL, TREE, distill_options


@pytest.fixture(autouse=True)
def forked(monkeypatch):
    """Measurements share the libraries with this process: how much memory they take is not looked at here."""
    monkeypatch.setattr(own_process, 'START', 'fork')


def run_benchmark(*arguments):
    code, output = run_tool('benchmark.py', *arguments, folder=TREE)
    assert code == 0, output[-3000:]
    return output


def test_the_published_way_gives_the_same_features_with_more_work(pipeline_folder):
    config = {'type': 'DiffusersTeacher', 'pretrained': pipeline_folder}
    published = PublishedTeacher(config)
    images, t = torch.rand(4, 3, 8, 8) * 2 - 1, torch.tensor([0, 10, 500, 999])
    ours = DiffusersTeacher(pipeline_folder)
    called = []
    published.whole.network.conv_out.register_forward_hook(lambda *args: called.append(1))
    features = published(images, t)
    assert features.keys() == ours(images, t).keys()
    assert all(torch.equal(feature, ours(images, t)[layer]) for layer, feature in features.items())
    assert called
    assert not list(published.parameters())


@pytest.mark.parametrize('compiled', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_step_measures_all_ways(compiled, pipeline_folder, tmp_path, monkeypatch):
    ways = {name: way for name, way in benchmark_step.ways().items() if compiled or not way['compile']}
    monkeypatch.setattr(benchmark_step, 'ways', lambda: ways)
    config = tmp_path / 'quick.py'
    config.write_text(f"""_base_ = {str(TREE / DISTILL)!r}
model = dict(
    teacher=dict(pretrained={pipeline_folder!r}),
    backbone=dict(  # of few operations: compiling takes the time
        _delete_=True, type='ConvNeXt', arch=dict(depths=[1], channels=[16]), out_indices=(0, ),
        gap_before_final_norm=False))
""")
    output = run_benchmark('step', config, '--batch-size', '4', '--rounds', '1', '--json', str(tmp_path / 'step.json'))
    rows = {row['way']: row for row in json.loads((tmp_path / 'step.json').read_text())['rows']}
    assert list(rows) == ['published', *ways]
    assert all(row[key] > 0 for row in rows.values() for key in ('images_per_second', 'ratio', 'share_of_peak'))
    published, ours = rows['published'], rows['ours']
    assert published['ratio'] == 1
    saved = published['teacher_flops'] - ours['teacher_flops']
    assert saved > 0.4 * published['teacher_flops']
    assert published['step_flops'] - ours['step_flops'] == saved
    assert all(f'| {way} |' in output for way in ways)
    assert rows['ours']['teacher_share'] > 0


def test_train_measures_both_ways(digits, pipeline_folder, tmp_path):
    output = run_benchmark(
        'train', DISTILL, '--iterations', '3', '--json', str(tmp_path / 'train.json'),
        '--cfg-options', *distill_options(digits, pipeline_folder), 'train_dataloader.batch_size=8',
        'train_dataloader.num_workers=1',
    )  # fmt: skip
    rows = json.loads((tmp_path / 'train.json').read_text())['rows']
    assert [len(row['seconds']) for row in rows] == [3, 3]
    assert all(0 <= row['data_share'] < 1 for row in rows)
    assert '| ours |' in output


def test_several_processes_take_turns_with_one(pipeline_folder):
    config = Config.fromfile(TREE / DISTILL)
    config.model.teacher.pretrained = pipeline_folder
    config.model.backbone.update(base_channels=4, stem_channels=4)
    rows = benchmark_processes.measure(config.model.to_dict(), batch_size=4, processes=2, rounds=2)
    assert [row['way'] for row in rows] == ['one process', '2 processes, nothing shared', '2 processes']
    alone, *others = rows
    assert alone['efficiency'] == alone['processor_efficiency'] == 1
    for row in rows:
        assert len(row['seconds']) == len(row['processor_seconds']) == 2
        images = 4 if row is alone else 8
        assert row['images_per_second'] == pytest.approx(images / statistics.median(row['seconds']))
    for row in others:
        ratios = [one / two for one, two in zip(alone['seconds'], row['seconds'], strict=True)]
        assert row['efficiency'] == pytest.approx(statistics.median(ratios))


@TRANSFORMS.register_module()
class Slow(BaseTransform):
    def transform(self, results):
        time.sleep(0.02)
        return results


def measure_data(workers, step, further=()):
    config = Config.fromfile(TREE / 'configs/imagenet-hint/ddpm-r18_hint.py')
    config.train_dataloader.batch_size = 4
    config.train_dataloader.dataset.pipeline[1:1] = further
    return benchmark_data.measure(config, 2000, workers, step, batches=4)


def test_data_finds_the_same_files_by_folder_and_by_list(tmp_path):
    benchmark_data.make_files(tmp_path, 2500, with_label=True)
    scanned, listed = (
        CustomDataset(data_root=str(tmp_path), data_prefix='train', ann_file=source)
        for source in benchmark_data.SOURCES.values()
    )
    files = [
        {(d['img_path'], d['gt_label']) for d in map(data.get_data_info, range(2500))} for data in (scanned, listed)
    ]
    assert len(files[0]) == 2500
    assert files[0] == files[1]


def test_data_measures_start_up_memory_and_waiting():
    slow = measure_data([1, 2], step=0.02, further=[{'type': 'Slow'}])
    expected = [('folder', 1), ('folder', 2), ('ann_file', 1), ('ann_file', 2)]
    assert [(row['source'], row['workers']) for row in slow] == expected
    for row in slow:
        assert row['start_up'] > 0
        assert row['list_memory'] > 2000 * 60  # a path each
        assert row['start_up_memory'] > row['list_memory']
        assert 2**20 < row['worker_memory'] < 2**30
    # A batch of four takes one worker 80 ms, and a step 20.
    assert all(row['data_share'] > 0.5 and row['images_per_second'] < 60 for row in slow if row['workers'] == 1)
    assert all(row['epoch_boundary'] > 0.08 for row in slow)
    assert all(row['data_share'] < 0.5 for row in measure_data([2], step=0.2))


def test_scaling_counts_what_a_real_step_computes_and_saves(pipeline_folder):
    config = Config.fromfile(TREE / DISTILL)
    config.model.teacher.pretrained = pipeline_folder
    config.optim_wrapper.optimizer = {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}
    config.custom_hooks = [{'type': 'EMAHook'}]
    counted = benchmark_shapes.count(config)
    model = config.model.to_dict() | {'data_preprocessor': config.data_preprocessor}
    step = benchmark_step.Step(model, 'ours', batch_size=4)
    flops = step.flops()
    assert counted['teacher_flops'] == flops['teacher']
    assert sum(value for key, value in counted.items() if key.endswith('_flops')) == pytest.approx(
        flops['step'], rel=0.02
    )
    average = ExponentialMovingAverage(step.model)
    file = io.BytesIO()
    states = {'model': step.model, 'average': average, 'optimizer': step.optimizer}
    torch.save({name: part.state_dict() for name, part in states.items()}, file)
    assert counted['checkpoint'] == pytest.approx(file.tell(), rel=0.02)


def test_scaling_says_what_limits_first():
    config = Config.fromfile(TREE / 'configs/imagenet-hint/ddpm-r18_hint.py')
    counted = {'teacher_flops': 9e11, 'forward_flops': 2e10, 'backward_flops': 8e10, 'gradients': 50e6,
               'checkpoint': 2e8, 'messages': 4}  # fmt: skip
    base = Assumptions(tflops=100, images_per_core=100, boundary=0, disk=1e9, failure=1e12, latency=0)

    def limit(gpus, **assume):
        return benchmark_scaling.simulate(counted, config, gpus, dataclasses.replace(base, **assume))

    one = limit(1)
    assert one['compute'] == pytest.approx(32 * 1e12 / 100e12)  # 0.32 s, in which 8 workers load 256 images
    assert (one['exposed'], one['waiting'], one['efficiency']) == (0, 0, pytest.approx(1))
    assert limit(64, images_per_core=10)['waiting'] == pytest.approx(0.4 - 0.32)
    assert limit(64, images_per_core=10)['limit'].startswith('loading, 20')
    # 64 GPUs: 7/4 of the gradients inside of a node, 7/4 between nodes; 25.6 ms of them behind the backward pass.
    assert limit(64, inside=1e9, network=1.0)['exposed'] == pytest.approx(1.75 * 0.05 - 0.0256)
    assert limit(64, network=0.1)['limit'].startswith('all-reduce')
    assert limit(64, boundary=1e3)['limit'].startswith('epoch boundary')
    assert limit(64, disk=1e-3)['limit'].startswith('checkpoint')
    failing = limit(64, failure=64.0, disk=0.1)  # one an hour, 2 s to write
    assert failing['interval'] == pytest.approx((2 * 2 * 3600) ** 0.5)
    assert failing['limit'].startswith('failures')
    assert limit(2**16)['limit'] == 'data set: less than a batch'


def test_scaling_prints_a_column_a_number_of_gpus(monkeypatch, capsys):
    monkeypatch.chdir(TREE)
    config = 'configs/cifar10-hint/ddpm-r18_hint.py'
    arguments = ['scaling', '--gpus', '8', '512', '--assume', 'tflops=40', '--', config]
    door('benchmark', *arguments)
    printed = capsys.readouterr().out
    assert '| GPUs | 8 | 512 |\n| --- | --- | --- |\n| images a step | 1,024 | 65,536 |' in printed
    assert 'tflops 40' in printed


@pytest.mark.parametrize(('arguments', 'message'), [
    (('step', 'cifar'), 'neither a preset (cifar10, celebahq, adm64, adm256) nor a config file'),
    (('processes', 'cifar'), 'neither a preset (cifar10, celebahq, adm64, adm256) nor a config file'),
    (('train', 'configs/_base_/default_runtime.py'), 'its model is not a RepFusion'),
    (('data', 'configs/cifar10-hint/ddpm-r18_hint.py'), 'its training set ImagesInMemory is none of files in folders'),
    (('step', 'cifar10', '--cfg-options', 'model.backbone.depth=50'), 'change a config, and cifar10 is a preset'),
    (('data', 'configs/imagenet-hint/ddpm-r18_hint.py', '--workers', '0'), 'what is measured are workers'),
    (('data', 'configs/imagenet-hint/ddpm-r18_hint.py', '--entries', '100'), 'an epoch that is measured takes'),
    (('scaling', DISTILL), 'its training set is none of ImageNet, CIFAR10'),
    (('scaling', 'configs/cifar10-hint/ddpm-r18_hint.py', '--assume', 'flops=1'), 'not flops'),
])  # fmt: skip
def test_wrong_arguments_are_refused(arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(TREE)
    with pytest.raises(SystemExit) as stopped:
        door('benchmark', *arguments)
    assert stopped.value.code == 2
    assert message in ' '.join(capsys.readouterr().err.split())


def test_cache_measures_a_training_with_and_without(digits, pipeline_folder, tmp_path):
    config = Config.fromfile(TREE / DISTILL)
    config.train_dataloader.batch_size = 16
    config.train_dataloader.dataset.indices = 32
    config.train_dataloader.dataset.dataset.data_root = str(digits)
    config.model.teacher.pretrained = pipeline_folder
    config.model.backbone.update(base_channels=4, stem_channels=4)
    config.model.timestep_policy = {'type': 'FixedPolicy'}
    config.model.feature_cache = {'views': 1}
    config.data_preprocessor.augments = []
    config.custom_hooks, config.train_cfg.max_epochs = [], 4
    config.dump(tmp_path / 'config.py')
    run_benchmark('cache', str(tmp_path / 'config.py'), '--json', str(tmp_path / 'cache.json'))
    without, kept = json.loads((tmp_path / 'cache.json').read_text())['rows']
    assert without['cache_hits'] == without['disk'] == 0
    assert kept['cache_hits'] == 0.75  # the first of four epochs fills it
    assert kept['disk'] > 0
    assert kept['loss'] == pytest.approx(without['loss'], rel=1e-2)
