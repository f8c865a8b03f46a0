import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from downstream.small_faces import write_celebamask_hq, write_wflw
from mmcls.apis.steps import Training
from mmcls.apis.transfer import check, plan, transfer, wire
from mmcls.engine.preflight import MissingDataError
from mmcls.errors import MissingFileError, UnusableInputError
from support import ROOT, tiny_unet

DISTILL = ROOT / 'classification_distill/configs/celebahq-hint/ddpm-r18_hint.py'
BASELINES = [*ROOT.glob('*/configs/**/*baseline*.py'), *ROOT.glob('*/configs/baseline/*_finetune.py')]
REPFUSION = [path for path in ROOT.glob('*/configs/**/*.py') if path.stem.endswith(('repfusion', 'repfussion'))]


def load(path) -> Training:
    return Training.from_file(str(path))


@pytest.fixture(autouse=True)
def _stay(monkeypatch):
    monkeypatch.chdir('.')


@pytest.mark.parametrize('path', REPFUSION, ids=lambda path: path.stem)
def test_it_sets_what_the_config_names_distilled(path):
    distillation, downstream = load(DISTILL), load(path)
    distillation.work_dir = 'work_dirs/another'
    options = wire(distillation, downstream)
    (checkpoint,) = options.values()
    tree = '' if 'classification_distill' in path.parts else '../classification_distill/'
    assert checkpoint == f'{tree}work_dirs/another/epoch_200.pth'
    assert downstream.config.distilled in str(downstream.config.model.to_dict())
    downstream.config.merge_from_dict(options)
    assert downstream.config.distilled not in str(downstream.config.model.to_dict())


@pytest.mark.parametrize('path', BASELINES, ids=lambda path: path.stem)
def test_a_config_that_loads_no_student_is_refused(path):
    with pytest.raises(UnusableInputError, match=r"baseline.*\.py loads no student(.|\n)*prefix='student\.backbone\.'"):
        wire(load(DISTILL), load(path))


def test_a_config_that_does_not_distil_is_refused():
    with pytest.raises(UnusableInputError, match=r'r18_b64_digits_finetune\.py does not distil: its ImageClassifier'):
        wire(load(ROOT / 'classification_distill/configs/baseline/r18_b64_digits_finetune.py'), load(REPFUSION[0]))


def test_a_config_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError, match=f"no config 'configs/none.py' in {tmp_path}"):
        load('configs/none.py')


@pytest.fixture
def trees(tmp_path):
    """The three trees, with configs that a test writes and data of its own."""
    for tree in ('classification_distill', 'segmentation', 'landmark'):
        (tmp_path / tree / 'configs').mkdir(parents=True)
        (tmp_path / tree / 'tools').symlink_to(ROOT / 'tools')
        (tmp_path / tree / 'data').symlink_to(tmp_path / 'data')
    return tmp_path


def write_config(trees: Path, path: str, base: str, text: str = '') -> Path:
    tree = path.partition('/')[0]
    config = trees / path
    config.write_text(f"_base_ = '{ROOT / tree / 'configs' / base}'\n{text}")
    return config


def test_a_student_that_does_not_fit_is_refused_before_it_is_distilled(trees):
    write_celebamask_hq(trees / 'data', images=1, size=16)
    segment = 'celebahq_mask/bisenetv1_r18-d32_lr5e-3_2x8_448x448_160k_coco-celebahq_mask_repfusion.py'
    downstream = load(write_config(trees, 'segmentation/configs/parse.py', segment))
    for student in ('r18', 'r50'):
        config = f'celebahq-hint/ddpm-{student}_hint.py'
        distillation = load(write_config(trees, f'classification_distill/configs/{student}.py', config))
        options = wire(distillation, downstream)
        if student == 'r18':
            check(distillation, downstream, options)
        else:
            with pytest.raises(
                UnusableInputError, match=r'r50\.py and configs/parse\.py do not fit(.|\n)*layer1\.0\.conv1'
            ):
                check(distillation, downstream, options)


def test_data_that_the_downstream_task_lacks_is_missed_before_the_distillation(trees):
    folder = write_celebamask_hq(trees / 'data', images=1, size=16)
    (folder / 'test.txt').unlink()
    segment = 'celebahq_mask/bisenetv1_r18-d32_lr5e-3_2x8_448x448_160k_coco-celebahq_mask_repfusion.py'
    downstream = load(write_config(trees, 'segmentation/configs/parse.py', segment))
    distillation = load(write_config(trees, 'classification_distill/configs/r18.py', 'celebahq-hint/ddpm-r18_hint.py'))
    with pytest.raises(MissingDataError, match=r"test_dataloader\.dataset\.ann_file='test\.txt'"):
        check(distillation, downstream, wire(distillation, downstream))


@pytest.mark.parametrize('amp', [False, True])
def test_mixed_precision_is_that_of_the_distillation_alone(amp):
    distillation, downstream = load(DISTILL), load(REPFUSION[0])
    steps = plan(distillation, downstream, wire(distillation, downstream), 2, amp)
    assert [' --amp' in str(step) for step in steps] == [amp, False, False]


def run(trees: Path, *arguments: str) -> str:
    environment = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable}
    command = ['bash', 'classification_distill/tools/transfer.sh', *arguments]
    result = subprocess.run(command, cwd=trees, capture_output=True, text=True, env=environment, timeout=500)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def write_teacher(folder: Path) -> Path:
    torch.manual_seed(0)
    blocks = {'down_block_types': ['DownBlock2D'] * 3, 'up_block_types': ['UpBlock2D'] * 3}
    unet = tiny_unet(sample_size=32, block_out_channels=(8, 8, 8), **blocks)
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)
    return folder


def test_from_distillation_to_landmarks(trees, tmp_path):
    write_wflw(trees / 'data/demo_faces', size=128)
    distil = write_config(
        trees,
        'classification_distill/configs/distil.py',
        'demofaces-hint/ddpm-hrnet_hint.py',
        "work_dir = 'work_dirs/distil'\n"
        f"model = dict(teacher=dict(pretrained='{write_teacher(tmp_path / 'teacher')}'))\n"
        'train_dataloader = dict(batch_size=2)\n'
        'train_cfg = dict(max_iters=1)\ndefault_hooks = dict(checkpoint=dict(interval=1))\n',
    )
    finetune = write_config(
        trees,
        'landmark/configs/landmarks.py',
        'demo_faces/hrnet_128x128_demofaces_repfusion.py',
        'train_dataloader = dict(batch_size=2)\n'
        'train_cfg = dict(max_iters=2, val_interval=2)\ndefault_hooks = dict(checkpoint=dict(interval=2))\n'
        'optim_wrapper = dict(optimizer=dict(lr=0))\n',
    )
    output = run(trees, str(distil.relative_to(trees)), str(finetune.relative_to(trees)), '1')
    work_dir = trees / 'landmark/work_dirs/transfer/distil/landmarks'
    metrics = json.loads((work_dir / 'metrics.json').read_text())
    assert metrics['NME'] > 0
    assert {'NME/pose', 'NME/expression'} <= metrics.keys()
    commands = (work_dir / 'commands.sh').read_text().splitlines()[1:]
    assert len(commands) == 3
    assert all(command in output for command in commands)

    # At a learning rate of 0, the weights that it ends with are those that it started with.
    distilled = torch.load(trees / 'classification_distill/work_dirs/distil/iter_1.pth', weights_only=False)
    tuned = torch.load(work_dir / 'iter_2.pth', weights_only=False)['state_dict']
    kernels = {key: value for key, value in distilled['state_dict'].items() if key.endswith('conv1.weight')}
    students = [key for key in kernels if key.startswith('student.backbone.')]
    assert students
    assert all(torch.equal(tuned[key.removeprefix('student.')], kernels[key]) for key in students)

    # Once more: nothing is trained again, and what the file says gives the same by hand.
    before = {path: path.stat().st_mtime_ns for path in trees.rglob('*.pth')}
    output = run(trees, str(distil.relative_to(trees)), str(finetune.relative_to(trees)), '1')
    assert {path: path.stat().st_mtime_ns for path in trees.rglob('*.pth')} == before
    lines = (work_dir / 'commands.sh').read_text().splitlines()[1:]
    assert lines == commands
    assert [f'# finished: {line}' in output for line in lines] == [True, True, False]
    assert json.loads((work_dir / 'metrics.json').read_text()) == metrics

    # What was trained from a student is not taken for that of a later one.
    os.utime(trees / 'classification_distill/work_dirs/distil/iter_1.pth')
    with pytest.raises(UnusableInputError, match=r'landmarks holds a training that did not start from .*iter_1\.pth'):
        transfer(str(distil), str(finetune))
