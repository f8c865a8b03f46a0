"""Every config of every tree as it stands: it trains, its paths lead to what other configs write, and at full size its
parts fit.

The configs run in a copy of the trees where ``data``, ``work_dirs`` and the teachers hold small files under the very
paths that the configs name, so that no path is overridden.
"""

import argparse
import functools
import os
from pathlib import Path

import pytest
import torch
from benchmark_presets import DDPM_CIFAR10_32, DDPM_EMA_CELEBAHQ_256
from conftest import ROOT, tiny_unet
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from downstream.small_faces import write_celebamask_hq, write_wflw
from list_configs import TREES, leaf_configs
from mmcls.engine.data_check import check_data
from mmcls.engine.launch import build_runner, load_config
from mmcls.engine.pretrained import check_pretrained_weights
from mmcls.models.guided_diffusion import VARIANTS, build_unet, get_variant
from mmcls.models.teachers import adm_teacher, diffusers_teacher
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpretrain.registry import MODELS
from models.adm_reference import ReferenceADM
from prepare_data.digits import write_digits
from small_datasets import cifar10_accepted, write_cifar10, write_imagenet, write_tiny_imagenet

CONFIGS = [path.relative_to(ROOT) for tree in TREES for path in leaf_configs(tree)]
BATCH_SIZE = 3  # the fewest images that RKDLoss compares
SMALLER = {32: 16, 64: 32, 224: 64, 256: 64}  # image sizes; those of the small data are smaller, too
SMALLER |= {(side, side): (side // 4, side // 4) for side in (64, 256, 448, 512)}

PIXEL_TEACHERS = {'google/ddpm-cifar10-32': DDPM_CIFAR10_32, 'google/ddpm-ema-celebahq-256': DDPM_EMA_CELEBAHQ_256}
ADM_FILES = {'64': '64x64_diffusion.pt', '256-uncond': '256x256_diffusion_uncond.pt'}
SMALL_ADM = {
    variant: {
        'image_size': 64,
        'num_channels': 32,
        'num_res_blocks': 1,
        'channel_mult': (1, 1, 1, 1),
        'attention_resolutions': (8,),
        'num_head_channels': 32,
        'class_cond': variant == '64',
    }
    for variant in ADM_FILES
}
# Channels and stride at the layer that the paper reads.
TEACHER_FEATURES = {
    'google/ddpm-cifar10-32': (256, 8),
    '64': (768, 8),
    '256-uncond': (1024, 32),
    'google/ddpm-ema-celebahq-256': (512, 32),
}
STUDENT_CHANNELS = {'r18': 512, 'r50': 2048, 'mbnv2': 1280, 'wrn28_2': 128, 'hrnet18': 2048}


@functools.cache
def load(config: Path) -> Config:
    return Config.fromfile(ROOT / config)


def runs() -> dict[str, Path]:
    """The config behind each folder of results, ``<tree>/<work_dir>``."""
    return {f'{c.parts[0]}/{load(c).get("work_dir") or f"work_dirs/{c.stem}"}': c for c in CONFIGS}


def results_read(config: Path) -> list[str]:
    """The results of other runs that a config names, from the repository's root."""

    def strings(node):
        if isinstance(node, str):
            yield node
        elif isinstance(node, dict | list | tuple):
            for child in node.values() if isinstance(node, dict) else node:
                yield from strings(child)

    named = {text for text in strings(load(config).model.to_dict()) if 'work_dirs/' in text}
    return [os.path.normpath(Path(config.parts[0], text)) for text in sorted(named)]


@pytest.fixture(scope='session')
def trees(tmp_path_factory):
    """The trees with small data, and small teachers of the true formats and layer names."""
    folder = tmp_path_factory.mktemp('trees')
    data = folder / 'data'
    for write in (write_cifar10, write_imagenet, write_wflw):
        write(data)
    write_celebamask_hq(data, size=256)
    write_tiny_imagenet(data, classes=2 * BATCH_SIZE, train=1, val=1)  # every image of a batch of another class
    write_digits(data / 'digits')
    for tree in TREES:
        (folder / tree).mkdir()
        (folder / tree / 'configs').symlink_to(ROOT / tree / 'configs')
        (folder / tree / 'data').symlink_to(data)

    torch.manual_seed(0)
    blocks = {'down_block_types': (*['DownBlock2D'] * 3, 'AttnDownBlock2D'), 'block_out_channels': (8, 8, 8, 16)}
    blocks['up_block_types'] = ('AttnUpBlock2D', *['UpBlock2D'] * 3)
    for name, size in (('google/ddpm-cifar10-32', 32), ('google/ddpm-ema-celebahq-256', 64)):
        unet = tiny_unet(sample_size=size, **blocks)
        DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder / 'classification_distill' / name)
    (data / 'teachers').mkdir()
    for file, flags in ((ADM_FILES[variant], flags) for variant, flags in SMALL_ADM.items()):
        torch.save(ReferenceADM(**flags).state_dict(), data / 'teachers' / file)
    return folder


@pytest.fixture
def workspace(trees, monkeypatch):
    """The trees, in a process that takes their small teachers and data for the published ones."""
    for variant, flags in SMALL_ADM.items():
        monkeypatch.setitem(VARIANTS, variant, get_variant(flags))
    # Formatting the config, five times a run, takes longer than two iterations.
    monkeypatch.setattr(Config, 'pretty_text', property(lambda config: repr(config.to_dict())))
    with cifar10_accepted(trees / 'data/cifar10'):
        yield trees


def make_results(config: Path, workspace: Path) -> None:
    """Make what a config reads of other runs: their models as they start."""
    for result in results_read(config):
        path = workspace / result
        if path.exists():
            continue
        source = runs()[str(Path(result).parent)]
        make_results(source, workspace)
        settings = load(source)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(workspace / source.parts[0])
            model = MODELS.build({'data_preprocessor': settings.get('data_preprocessor')} | settings.model.to_dict())
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == '.pth':
            torch.save({'state_dict': model.state_dict()}, path)
        else:
            model.pipeline().save_pretrained(path)


def shrink(config: Config) -> None:
    """Two iterations and a validation of small batches of small images, in this process."""
    for name in ('train', 'val', 'test'):
        if loader := config.get(f'{name}_dataloader'):
            loader.update(batch_size=BATCH_SIZE, num_workers=0)
            loader.dataset.indices = 2 * BATCH_SIZE if name == 'train' else 1
    shrink_images(config)
    config.train_cfg.update({'max_epochs': 1} if config.train_cfg.by_epoch else {'max_iters': 2}, val_interval=1)
    config.default_hooks.checkpoint.update(interval=-1, save_last=False)
    config.optim_wrapper.optimizer.weight_decay = 0  # a weight then moves by its gradient alone


def shrink_images(node) -> None:
    for key, value in node.items() if isinstance(node, dict | Config) else enumerate(node):
        if key in ('scale', 'crop_size', 'size', 'input_size', 'heatmap_size') and value in SMALLER:
            node[key] = SMALLER[value]
        elif isinstance(value, dict | list):
            shrink_images(value)


class Recorder(Hook):
    def before_train(self, runner):
        self.logged, self.reached = [], set()
        for name, weight in runner.model.named_parameters():
            weight.register_post_accumulate_grad_hook(lambda _, name=name: self.reached.add(name))
        self.before = {name: weight.detach().clone() for name, weight in runner.model.named_parameters()}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.logged.append(outputs)

    def after_val_epoch(self, runner, metrics=None):
        self.metrics = metrics


@pytest.mark.parametrize('config', CONFIGS, ids=str)
def test_it_trains(config, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace / config.parts[0])
    make_results(config, workspace)
    arguments = {'config': str(Path(*config.parts[1:])), 'work_dir': str(tmp_path), 'cfg_options': {}}
    settings = load_config(argparse.Namespace(launcher='none', **arguments))
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
        assert all(torch.isfinite(torch.as_tensor(value)).all() for value in step.values()), step
    weights = dict(runner.model.named_parameters())
    student = [name for name in recorder.reached if name.startswith(('student.backbone', 'backbone', 'unet'))]
    assert student
    assert not [name for name in student if weights[name].dim() > 1 and weights[name].equal(recorder.before[name])]
    # DistributedDataParallel waits for the gradient of every weight unless it is told to look.
    assert recorder.reached == weights.keys() or settings.get('find_unused_parameters')
    if settings.get('val_dataloader'):
        assert recorder.metrics


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
        assert source.url.startswith('http'), config
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


PUBLISHED = [c for c in CONFIGS if load(c).model.type == 'RepFusion' and not c.parts[2].startswith('digits')]


@pytest.mark.parametrize('config', PUBLISHED, ids=str)
def test_student_and_teacher_fit_at_full_size(config, meta_teachers):
    settings = load(config)
    teacher = settings.model.teacher
    channels, stride = TEACHER_FEATURES[teacher.get('pretrained') or teacher.variant]
    student = config.stem.removeprefix('ddpm-').rpartition('_')[0]
    crops = [t.get('crop_size') or t.get('scale') for t in settings.train_dataloader.dataset.pipeline]
    size = next(crop for crop in crops if crop)
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
