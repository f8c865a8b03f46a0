"""tools/train.py --dry-run: what it finds, what it prints, and that what it counts is right."""

import re
import resource
import signal
import socket
from types import SimpleNamespace

import pytest
import torch
from mmcls import engine
from mmcls.engine.step_cost import LiveMemory, StepTime, measure_step
from mmcls.engine.stopping import SIGNALS
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmpretrain.registry import HOOKS, MODELS
from mmpretrain.structures import DataSample
from processes import run_tool
from support import ROOT
from torch.utils.flop_counter import FlopCounterMode

DISTILL = 'configs/digits-hint/ddpm-r18_hint.py'
FINETUNE = 'configs/baseline/r18_b64_digits_finetune_repfusion.py'


@pytest.fixture(autouse=True)
def _in_the_tree(monkeypatch):
    monkeypatch.chdir(ROOT / 'classification_distill')


@pytest.fixture(scope='module')
def distilled(tmp_path_factory):
    """A checkpoint of the finetuning config's backbone."""
    backbone = MODELS.build({'type': 'ResNet_CIFAR', 'depth': 18, 'stem_channels': 16, 'base_channels': 16})
    path = tmp_path_factory.mktemp('distilled') / 'epoch_100.pth'
    weights = {f'student.backbone.{key}': value for key, value in backbone.state_dict().items()}
    torch.save({'state_dict': weights}, path)
    return path


def dry_run(config, digits, pipeline, *options) -> tuple[int, str]:
    data = [f'data_root={digits}']
    if config == DISTILL:
        data.append(f'model.teacher.pretrained={pipeline}')
    return run_tool('train.py', config, '--dry-run', '--cfg-options', *data, *options)


def test_what_it_prints_and_that_it_leaves_nothing(digits, pipeline_folder, tmp_path):
    work_dir = tmp_path / 'run'
    code, output = dry_run(DISTILL, digits, pipeline_folder, f'work_dir={work_dir}')
    assert code == 0, output
    assert '1,000 training images, 297 validation images; 1,500 iterations' in output
    assert 'student 700 k' in output
    assert '20.5 k frozen' in output
    assert 'FLOP a step of 64 images' in output
    assert 'about 0.018' in output
    line = r'about (\d:\d\d:\d\d) .* ([\d.e-]+) s an iteration.*time on (\d+);'
    said, seconds, timed = re.search(line, output, re.DOTALL).groups()
    assert timed == '64'
    hours, minutes, rest = map(int, said.split(':'))
    assert 3600 * hours + 60 * minutes + rest == pytest.approx(1500 * float(seconds), rel=0.06)
    assert '\x1b' not in output
    assert not list(tmp_path.iterdir())


def test_the_keyboard_is_what_it_was_before(digits, distilled):
    before = [signal.getsignal(number) for number in SIGNALS]
    during = []

    class Watch(Hook):
        def before_train(self, runner):
            during.append([signal.getsignal(number) for number in SIGNALS])

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(HOOKS.module_dict, 'WatchHook', Watch)
        options = {'data_root': str(digits), 'distilled': str(distilled), 'default_hooks.watch.type': 'WatchHook'}
        engine.dry_run(engine.prepare_config(FINETUNE, options))
    assert during == [before]


def test_loading_beside_the_training_costs_only_what_it_takes_longer():
    cost = StepTime(images=64, step=1.0, data=3.0)
    assert [cost.of_iteration(workers) for workers in (0, 1, 2, 4)] == [4.0, 3.0, 1.5, 1.0]


def test_training_by_iterations(digits, distilled):
    code, output = dry_run(FINETUNE, digits, None, f'model.backbone.init_cfg.checkpoint={distilled}')
    assert code == 0, output
    assert '320 iterations' in output
    assert 'backbone 700 k, head 1.29 k' in output


@pytest.mark.parametrize(
    ('config', 'option', 'sentence'),
    [
        (DISTILL, 'train_dataloader.dataset.dataset.data_root=/no/data', "data_root='/no/data' is not there"),
        (FINETUNE, 'model.backbone.init_cfg.prefix=backbone.', "prefix='backbone.' matches nothing"),
        (
            DISTILL,
            "model.teacher.layers=['mid_block.resnets.2']",
            "no layer 'mid_block.resnets.2'. Near ones: mid_block",
        ),
        (DISTILL, 'model.timestep_policy.type=ReinforcedPolicy', 'not registered. Near ones: ReinforcePolicy'),
        (DISTILL, 'model.backbone.type=ResNet_CIFAR10', 'ResNet_CIFAR10 is not in the'),
        (
            DISTILL,
            'model.teacher.pretrained=google/no-such',
            "pretrained='google/no-such' is neither a folder here nor",
        ),
        (DISTILL, 'optim_wrapper.optimizer.type=AdmaW', 'not registered. Near ones: AdamW'),
        (DISTILL, 'model.task_head.num_classes=5', 'model.task_head.num_classes is'),
    ],
    ids=['data', 'prefix', 'layer', 'policy', 'backbone', 'teacher', 'optimizer', 'classes'],
)
def test_what_it_finds(config, option, sentence, digits, pipeline_folder, distilled, monkeypatch):
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)  # no hub
    options = [f'model.backbone.init_cfg.checkpoint={distilled}'] if config == FINETUNE else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    code, output = dry_run(config, digits, pipeline_folder, *options, option)
    assert code == 1
    assert 'This training would fail:\n- ' in output
    assert sentence in output
    assert 'Traceback' not in output
    # Ten seconds are left for the import of the libraries.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 10


def test_all_that_is_wrong_is_said_at_once(digits, pipeline_folder):
    wrong = ['train_dataloader.dataset.dataset.data_root=/no/data', 'model.distill_loss.norm=l3']
    code, output = dry_run(DISTILL, digits, pipeline_folder, *wrong)
    assert code == 1
    assert "data_root='/no/data'" in output
    assert "\n- norm='l3': expected one of" in output


def refuse(*args, **kwargs):
    raise ConnectionRefusedError('there is no network')


def build(pipeline_folder):
    torch.manual_seed(0)
    model = MODELS.build({
        'type': 'RepFusion',
        'teacher': {'type': 'DiffusersTeacher', 'pretrained': pipeline_folder},
        'backbone': {'type': 'ResNet_CIFAR', 'depth': 18, 'stem_channels': 8, 'base_channels': 8},
        'timestep_policy': {'type': 'ReinforcePolicy'},
        'distill_loss': {'type': 'HintLoss'},
        'task_head': {'type': 'PooledMLPHead', 'num_classes': 2},
    })  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters())
    return SimpleNamespace(model=model, optim_wrapper=OptimWrapper(optimizer), hooks=[])


def batch(images: int) -> dict:
    samples = [DataSample().set_gt_label(i % 2) for i in range(images)]
    return {'inputs': list(torch.randint(256, (images, 3, 16, 16), dtype=torch.uint8)), 'data_samples': samples}


def test_the_cost_of_a_few_images_is_scaled_to_the_batch(pipeline_folder):
    runner = build(pipeline_folder)
    cost = measure_step(runner, batch(4), 4, 32)
    whole = measure_step(build(pipeline_folder), batch(32), 32, 32)
    assert cost.flops == whole.flops
    assert cost.maps == pytest.approx(whole.maps, rel=0.05)

    weights = sum(weight.numel() for weight in runner.model.parameters())
    teacher = sum(weight.numel() for weight in runner.model.teacher.network.parameters())
    assert sum(cost.trained.values()) == weights
    assert cost.frozen == teacher
    assert cost.gradients == 4 * weights
    assert cost.optimizer == pytest.approx(8 * weights, rel=0.001)  # AdamW: two moments, and the number of the step
    assert cost.weights >= 4 * (weights + teacher)

    # The teacher's work, and twice the student's forward pass for its backward pass, are in it.
    images = torch.zeros(32, 3, 16, 16)
    with torch.no_grad(), FlopCounterMode(display=False) as student:
        runner.model.extract_feat(images)
    with FlopCounterMode(display=False) as teacher:
        runner.model.teacher(images, torch.zeros(32, dtype=torch.int64))
    assert cost.flops > 2.9 * student.get_total_flops() + teacher.get_total_flops()


def test_memory_of_what_is_alive():
    before = torch.ones(1000)
    with LiveMemory() as memory:
        first = before * 2
        view = first[:10]
        second = first + 1
        assert memory.live == 8000
        del first, second
        assert memory.live == 4000  # a view keeps it
        del view
        assert memory.live == 0
        before += 1
        assert memory.live == 0
    assert memory.peak == 8000


@pytest.mark.parametrize(
    ('config', 'option', 'sentence'),
    [
        (
            FINETUNE,
            'model.head.loss.loss_weight=nan',
            'Values that are not finite, at iteration 1.\nRank 0: loss is [nan] for',
        ),
        (
            'configs/teacher/ddpm_digits.py',
            'model.unet.sample_size=12',
            'The images are 8x8, and model.unet.sample_size',
        ),
        ('configs/teacher/ddpm_digits.py', 'model.unet.sample_size=9', 'multiples of'),
    ],
)
def test_what_its_one_step_finds(config, option, sentence, digits, pipeline_folder, distilled):
    options = [f'model.backbone.init_cfg.checkpoint={distilled}'] if config == FINETUNE else []
    code, output = dry_run(config, digits, pipeline_folder, *options, option)
    assert code == 1
    assert 'This training would fail:\n- ' in output
    assert sentence in output
    assert 'Traceback' not in output
