import json
import sys

import published_teacher
import pytest
import torch
from mmcls.models import DiffusersTeacher
from test_train import DISTILL, SMALL, distill_options, run


def benchmark(*arguments, check=True):
    return run(sys.executable, 'tools/benchmark.py', *arguments, check=check)


def test_the_published_way_gives_the_same_features_with_more_work(pipeline_folder):
    config = {'type': 'DiffusersTeacher', 'pretrained': pipeline_folder}
    published = published_teacher.PublishedTeacher(config)
    images, t = torch.rand(4, 3, 8, 8) * 2 - 1, torch.tensor([0, 10, 500, 999])
    ours = DiffusersTeacher(pipeline_folder)
    called = []
    published.whole.network.conv_out.register_forward_hook(lambda *args: called.append(1))
    features = published(images, t)
    assert features.keys() == ours(images, t).keys()
    assert all(torch.equal(feature, ours(images, t)[layer]) for layer, feature in features.items())
    assert called
    assert not list(published.parameters())


def test_step_and_train_measure_both_ways(digits, pipeline_folder, tmp_path):
    teacher = f'model.teacher.pretrained={pipeline_folder}'
    step = benchmark(
        'step', DISTILL, '--batch-size', '4', '--rounds', '1', '--json', str(tmp_path / 'step.json'),
        '--cfg-options', teacher, *SMALL,
    )  # fmt: skip
    rows = {row['way']: row for row in json.loads((tmp_path / 'step.json').read_text())['rows']}
    assert list(rows)[:2] == ['published', 'ours, float32']
    assert all(row[key] > 0 for row in rows.values() for key in ('images_per_second', 'ratio', 'share_of_peak'))
    published, ours = rows['published'], rows['ours, float32']
    assert published['ratio'] == 1
    saved = published['teacher_flops'] - ours['teacher_flops']
    assert saved > 0.4 * published['teacher_flops']
    assert published['step_flops'] - ours['step_flops'] == saved
    assert '| channels_last, compile |' in step.stdout

    train = benchmark(
        'train', DISTILL, '--iterations', '3', '--json', str(tmp_path / 'train.json'),
        '--cfg-options', *distill_options(digits, pipeline_folder), 'train_dataloader.batch_size=8',
    )  # fmt: skip
    rows = json.loads((tmp_path / 'train.json').read_text())['rows']
    assert [len(row['seconds']) for row in rows] == [3, 3]
    assert all(0 <= row['data_share'] < 1 for row in rows)
    assert '| ours, float32 |' in train.stdout


@pytest.mark.parametrize(('arguments', 'message'), [
    (('step', 'cifar'), 'neither a preset (cifar10, celebahq, adm64, adm256) nor a config file'),
    (('train', 'configs/_base_/default_runtime.py'), 'its model is not a RepFusion'),
])  # fmt: skip
def test_wrong_arguments_are_refused(arguments, message):
    done = benchmark(*arguments, check=False)
    assert done.returncode == 2
    assert message in ' '.join(done.stderr.split())
