"""Every config of every tree: it trains, its paths lead to what other configs write, and at full size its parts fit."""

import gc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from mmcls.benchmark.presets import DDPM_CIFAR10_32, DDPM_EMA_CELEBAHQ_256
from mmcls.configs import find_image_size
from mmcls.engine.launch import build_runner, prepare_config
from mmcls.engine.preflight import check_data
from mmcls.engine.pretrained import check_pretrained_weights
from mmcls.models.guided_diffusion import VARIANTS, build_unet, get_variant
from mmcls.models.teachers import adm_teacher, classifier_teacher, diffusers_teacher
from mmcls.visualization import features, timesteps
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpretrain.registry import MODELS
from small_datasets import cifar10_accepted
from small_trees import CONFIGS, SMALL_ADM, load, make_results, narrow, results_read, runs, shrink, write_trees
from support import ROOT

PIXEL_TEACHERS = {'google/ddpm-cifar10-32': DDPM_CIFAR10_32, 'google/ddpm-ema-celebahq-256': DDPM_EMA_CELEBAHQ_256}
# Channels and stride at the layer that the paper reads.
TEACHER_FEATURES = {
    'google/ddpm-cifar10-32': (256, 8),
    '64': (768, 8),
    '256-uncond': (1024, 32),
    'google/ddpm-ema-celebahq-256': (512, 32),
}
STUDENT_CHANNELS = {'r18': 512, 'r50': 2048, 'mbnv2': 1280, 'wrn28_2': 128, 'hrnet18': 2048}


@pytest.fixture(scope='session')
def trees(tmp_path_factory):
    folder = tmp_path_factory.mktemp('trees')
    write_trees(folder)
    gc.freeze()  # MMEngine's data sets collect garbage, which takes a third of a second with all that is imported
    return folder


@pytest.fixture
def workspace(trees, monkeypatch):
    """The trees, in a process that takes their small teachers and data for the published ones."""
    for variant, flags in SMALL_ADM.items():
        monkeypatch.setitem(VARIANTS, variant, get_variant(flags))
    load_whole = Config.fromfile
    monkeypatch.setattr(classifier_teacher, 'Config', SimpleNamespace(fromfile=lambda path: narrow(load_whole(path))))
    # Formatting the config, five times a run, takes longer than two iterations.
    monkeypatch.setattr(Config, 'pretty_text', property(lambda config: repr(config.to_dict())))
    # Pictures are looked at in test_live_view.
    for module in (features, timesteps):
        monkeypatch.setattr(module, 'rasterize', lambda figure: np.zeros((2, 2, 3), np.uint8))
    with cifar10_accepted(trees / 'data/cifar10'):
        yield trees


class Recorder(Hook):
    def before_train(self, runner):
        self.logged, self.reached = [], set()
        for name, weight in runner.model.named_parameters():
            if not weight.requires_grad:  # BYOL's average of itself
                continue
            weight.register_post_accumulate_grad_hook(lambda _, name=name: self.reached.add(name))
        self.before = {name: weight.detach().clone() for name, weight in runner.model.named_parameters()}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        # With their graphs, they and the hooks of the weights would keep each other, and all models, alive.
        self.logged.append({name: torch.as_tensor(value).detach() for name, value in outputs.items()})

    def after_val_epoch(self, runner, metrics=None):
        self.metrics = metrics


@pytest.mark.parametrize('config', CONFIGS, ids=str)
def test_it_trains(config, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace / config.parts[0])
    make_results(config, workspace)
    settings = prepare_config(str(Path(*config.parts[1:])), {}, str(tmp_path))
    shrink(settings)
    settings.experiment_name = str(config)  # runs of one name and second would share a logger
    check_data(settings, ['train', 'val'])
    runner = build_runner(settings)
    check_pretrained_weights(runner.model, settings)
    recorder = Recorder()
    runner.register_hook(recorder)

    runner.train()

    assert len(recorder.logged) == 2
    for step in recorder.logged:
        assert step['loss'] != 0
        assert all(torch.isfinite(value).all() for value in step.values()), step
    weights = {name: weight for name, weight in runner.model.named_parameters() if weight.requires_grad}
    student = [name for name in recorder.reached if name.startswith(('student.backbone', 'backbone', 'unet'))]
    assert student
    assert not [name for name in student if weights[name].dim() > 1 and weights[name].equal(recorder.before[name])]
    # DistributedDataParallel waits for the gradient of every weight unless it is told to look.
    assert recorder.reached == weights.keys() or settings.get('find_unused_parameters')
    if settings.get('val_dataloader'):
        assert recorder.metrics


class RoundWeights(Hook):
    """Starts from weights that differ in their last bits."""

    def __init__(self, seed):
        self.draws = torch.Generator().manual_seed(seed)

    def before_train(self, runner):
        with torch.no_grad():
            for weight in runner.model.parameters():
                weight *= 1 + 1e-7 * torch.randn(weight.shape, generator=self.draws)


# The last config of each folder whose models are compiled on a GPU.
COMPILED = {c.parts[2]: c for c in CONFIGS if load(c).model.type in ('RepFusion', 'KDClassifier', 'DDPMTrainer')}


@pytest.mark.slow  # the compiler takes a minute for a student
@pytest.mark.parametrize('config', COMPILED.values(), ids=COMPILED.keys())
def test_the_first_losses_are_those_of_the_plain_model_when_it_is_compiled(config, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace / config.parts[0])
    make_results(config, workspace)

    def losses(name: str, *hooks: Hook, compiled: bool = False) -> list[float]:
        settings = prepare_config(str(Path(*config.parts[1:])), {}, str(tmp_path / name))
        shrink(settings)
        settings.optim_wrapper.optimizer.lr /= 100
        settings.experiment_name = f'{config} {name}'
        settings.model.compile = compiled
        if settings.model.type == 'RepFusion':
            settings.model.teacher.compile = compiled
        runner = build_runner(settings)
        recorder = Recorder()
        for hook in (recorder, *hooks):
            runner.register_hook(hook)
        runner.train()
        return [step['loss'].item() for step in recorder.logged]

    # Normalised over three images, rounding can grow; for more images see models/test_compiled_step.py.
    rounded = [losses(f'rounded {seed}', RoundWeights(seed)) for seed in range(4)]
    for compiled, plain, *others in zip(losses('compiled', compiled=True), losses('plain'), *rounded, strict=True):
        assert compiled == pytest.approx(plain, rel=1e-4, abs=2 * max(abs(other - plain) for other in others))


def test_results_that_are_read_are_those_that_another_config_ends_with():
    assert len(runs()) == len(CONFIGS), 'two configs write to one folder'
    read = {config: results_read(config) for config in CONFIGS}
    assert any(read.values())
    for config, results in read.items():
        for result in map(Path, results):
            source = runs().get(str(result.parent))
            assert source, f'{config} reads {result}, which no config writes'
            length = load(source).train_cfg
            last = f'epoch_{length.max_epochs}.pth' if length.by_epoch else f'iter_{length.max_iters}.pth'
            assert result.name in (last, 'pipeline'), config
        if load(config).model.type == 'KDClassifier':
            teacher = load(config).model.teacher
            assert runs()[f'{config.parts[0]}/{Path(teacher.checkpoint).parent}'].relative_to(config.parts[0]) == Path(
                teacher.config
            )


def test_every_data_set_says_where_it_comes_from():
    for config in CONFIGS:
        source = load(config).data_source
        drawn = source.command.endswith('demo_faces.py')
        assert drawn or source.url.startswith('http'), config
        program, script = source.command.split()
        assert program == 'python'
        assert (ROOT / script).is_file(), config


@pytest.fixture
def meta_teachers(monkeypatch):
    """The published architectures, without weights."""

    def from_hub(pretrained, *args):
        with torch.device('meta'):
            return DDPMPipeline(UNet2DModel(**PIXEL_TEACHERS[pretrained]), DDPMScheduler())

    def from_adm(checkpoint, variant):
        architecture = get_variant(variant)
        return DDPMPipeline(build_unet(architecture), DDPMScheduler(**architecture.scheduler_config()))

    monkeypatch.setattr(diffusers_teacher, 'load_pipeline', from_hub)
    monkeypatch.setattr(adm_teacher, 'load_guided_diffusion', from_adm)


OWN = ('demofaces', 'digits', 'cifar10few')  # this project's, no published experiment
PUBLISHED = [c for c in CONFIGS if load(c).model.type == 'RepFusion' and not c.parts[2].startswith(OWN)]


@pytest.mark.parametrize('config', PUBLISHED, ids=str)
def test_student_and_teacher_fit_at_full_size(config, meta_teachers):
    settings = load(config)
    teacher = settings.model.teacher
    channels, stride = TEACHER_FEATURES[teacher.get('pretrained') or teacher.variant]
    student = config.stem.removeprefix('ddpm-').rpartition('_')[0]
    size = find_image_size(settings)
    model = MODELS.build({'data_preprocessor': settings.data_preprocessor} | settings.model.to_dict())
    ((layer, feature),) = model.teacher(
        torch.zeros(2, 3, size, size, device='meta'), torch.zeros(2, dtype=torch.int64, device='meta')
    ).items()
    (student_feature,) = model.find_student_features(size, size)
    side = model.teacher.sample_size[0] // stride
    assert model.teacher.feature_info[layer] == (channels, stride)
    assert feature.shape == (2, channels, side, side)
    assert student_feature.shape[1] == STUDENT_CHANNELS[student]
    matched = model.connectors[0](student_feature, feature.shape)
    keeps_channels = settings.model.distill_loss.type in ('ATLoss', 'RKDLoss', 'CRDLoss')
    assert matched.shape[1:] == (STUDENT_CHANNELS[student] if keeps_channels else channels, side, side)
    assert model.timestep_policy.num_timesteps == 1000
