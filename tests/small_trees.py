"""A copy of the trees in which every config runs as it stands.

``data``, ``work_dirs`` and the teachers hold small files under the very paths that the configs name, so that no path is
overridden.
"""

import copy
import functools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from digits import write_digits
from downstream.small_faces import write_celebamask_hq, write_wflw
from mmcls.apis.config_table import TREES, leaf_configs
from mmengine.config import Config
from mmpretrain.registry import MODELS
from models.adm_reference import ReferenceADM
from PIL import Image
from small_datasets import write_cifar10, write_cifar10_few_labels, write_imagenet, write_tiny_imagenet
from support import ROOT, tiny_unet

CONFIGS = [path.relative_to(ROOT) for tree in TREES for path in leaf_configs(tree)]
BATCH_SIZE = 3  # the fewest images that RKDLoss compares
SMALLER = {32: 16, 64: 16, 224: 64, 256: 64}  # image sizes; those of the small data are smaller, too
SMALLER |= {(64, 64): (16, 16), (256, 256): (64, 64), (448, 448): (64, 64), (512, 512): (64, 64)}

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


def write_trees(folder: Path) -> None:
    """The trees with small data, and small teachers of the true formats and layer names."""
    data = folder / 'data'
    write_data(data)
    for tree in TREES:
        (folder / tree).mkdir()
        (folder / tree / 'configs').symlink_to(ROOT / tree / 'configs')
        (folder / tree / 'data').symlink_to(data)
    write_teachers(folder / 'classification_distill')
    (data / 'teachers').mkdir()
    for file, flags in ((ADM_FILES[variant], flags) for variant, flags in SMALL_ADM.items()):
        torch.save(ReferenceADM(**flags).state_dict(), data / 'teachers' / file)


def write_data(data: Path) -> None:
    for write in (write_cifar10, write_imagenet, write_wflw):
        write(data)
    write_celebamask_hq(data, size=256)
    write_celebamask_hq(data / 'demo_faces', size=128)
    write_wflw(data / 'demo_faces', size=128)
    write_tiny_imagenet(data, classes=2 * BATCH_SIZE, train=1, val=1)  # every image of a batch of another class
    write_digits(data / 'digits')
    _draw_over(data / 'digits')
    write_cifar10_few_labels(data)


def _draw_over(folder: Path) -> None:
    """Noise instead of digits: a ResNet whose residuals start at zero sees only their corner, which is always black."""
    draws = np.random.default_rng(0)
    for path in folder.rglob('*.png'):
        Image.fromarray(draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


def write_teachers(folder: Path) -> None:
    """Small models of the hub, in the folders where they are looked for before the hub is asked."""
    torch.manual_seed(0)
    blocks = {'down_block_types': (*['DownBlock2D'] * 3, 'AttnDownBlock2D'), 'block_out_channels': (8, 8, 8, 16)}
    blocks['up_block_types'] = ('AttnUpBlock2D', *['UpBlock2D'] * 3)
    for name, size in (('google/ddpm-cifar10-32', 32), ('google/ddpm-ema-celebahq-256', 64)):
        unet = tiny_unet(sample_size=size, **blocks)
        DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder / name)


def narrow(config: Config) -> Config:
    """A config with WRN-28-10, whose 36.5 M weights teach, a tenth as wide."""
    config = copy.deepcopy(config)
    if config.model.get('backbone', {}).get('width_factor') == 10:
        config.model.backbone.width_factor = 1
        config.model.head.in_channels = 64
    return config


def make_results(config: Path, folder: Path) -> None:
    """Make what a config reads of other runs: their models as they start."""
    for result in results_read(config):
        path = folder / result
        if path.exists():
            continue
        source = runs()[str(Path(result).parent)]
        make_results(source, folder)
        settings = narrow(load(source))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder / source.parts[0])
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
    for hook in config.get('custom_hooks', []):
        if hook.type == 'DDPMSampleHook':
            hook.update(num_images=2, num_inference_steps=2)
    config.optim_wrapper.optimizer.weight_decay = 0  # a weight then moves by its gradient alone


def shrink_images(node) -> None:
    for key, value in node.items() if isinstance(node, dict | Config) else enumerate(node):
        if key in ('scale', 'crop_size', 'size', 'input_size', 'heatmap_size') and value in SMALLER:
            node[key] = SMALLER[value]
        elif isinstance(value, dict | list):
            shrink_images(value)
