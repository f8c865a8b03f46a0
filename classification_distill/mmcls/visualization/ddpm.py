"""What a DDPMTrainer shows while it trains, and what it leaves at the end."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.dist import master_only
from mmengine.hooks import EMAHook, Hook
from mmpretrain.registry import HOOKS
from torchvision.utils import make_grid

from ..engine.terminal import AT_TERMINAL
from ..files import remove, written_whole
from ..weights import unwrap

if TYPE_CHECKING:
    from diffusers import DDPMPipeline


def _trained_pipeline(runner) -> 'DDPMPipeline':
    """The pipeline of the EMA weights where the run keeps them, else of the model's own."""
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            return hook.ema_model.module.pipeline()
    return unwrap(runner.model).pipeline()


@HOOKS.register_module()
class DDPMSampleHook(Hook):
    """Draw a grid of samples to the visualizer, from the same noise each time.

    Args:
        interval: Epochs between two grids.
        num_images: Images in a grid.
        num_inference_steps: Denoising steps of a sample.
    """

    def __init__(self, interval: int = 10, num_images: int = 64, num_inference_steps: int = 50):
        self.interval = interval
        self.num_images = num_images
        self.num_inference_steps = num_inference_steps

    @master_only
    def after_train_epoch(self, runner) -> None:
        if not (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            return
        pipeline = _trained_pipeline(runner)
        pipeline.set_progress_bar_config(disable=True)
        is_training = pipeline.unet.training
        pipeline.unet.eval()  # without dropout
        # Compiled for the training, the network would be compiled anew for these shapes.
        with torch.compiler.set_stance('force_eager'):
            images = pipeline(
                batch_size=self.num_images,
                generator=torch.Generator().manual_seed(0),
                num_inference_steps=self.num_inference_steps,
                output_type='np',
            ).images
        pipeline.unet.train(is_training)
        grid = make_grid(torch.from_numpy(images).permute(0, 3, 1, 2), nrow=round(self.num_images**0.5))
        pixels = (grid.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        runner.visualizer.add_image('samples', pixels, step=runner.iter)


@HOOKS.register_module()
class DDPMPipelineHook(Hook):
    """At the end, save the trained model as a diffusers pipeline folder, ``<work_dir>/<folder>``."""

    def __init__(self, folder: str = 'pipeline'):
        self.folder = folder

    @master_only
    def after_train(self, runner) -> None:
        target = Path(runner.work_dir, self.folder)
        with written_whole(target) as partial:
            _trained_pipeline(runner).save_pretrained(partial)
            remove(target)  # a folder takes no other's name
        runner.logger.info(f'Saved the diffusion model as a diffusers pipeline: {target}', extra=AT_TERMINAL)
