"""Consistency models, whose noise levels are Karras's."""

from collections.abc import Callable, Sequence

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from .diffusers_teacher import MIDDLE, UNetTeacher
from .pipelines import load_pipeline


@MODELS.register_module()
class ConsistencyTeacher(UNetTeacher):
    """The ``UNet2DModel`` of a diffusers ``ConsistencyModelPipeline``, such as ``openai/diffusers-cd_imagenet64_l2``.

    "Consistency Models" (Song et al., ICML 2023). t in [0, T) counts the noise levels of its training upwards, T = 40
    for distilled models; x_t = x_0 + sigma_t times noise.

    Args:
        pretrained: Hub id, or the folder of a saved pipeline.
        layers: Names of the U-Net's modules to read.
        options: As in ``BaseTeacher``: ``class_labels``, ``noise``, ``dtype``, ``compile``.

    Raises:
        FileNotFoundError: When the pipeline cannot be found or fetched.
        ValueError: When it is none of consistency models, or as in ``BaseTeacher``.
    """

    def __init__(self, pretrained: str, layers: Sequence[str] = (MIDDLE,), **options):
        pipeline = load_pipeline(pretrained, 'ConsistencyModelPipeline', {'unet': 'UNet2DModel'})
        self._sigma_data = pipeline.scheduler.config.sigma_data
        super().__init__(pipeline.unet, pipeline.scheduler, layers, **options)

    def noise_levels(self, scheduler) -> Tensor:
        """Karras et al. ("Elucidating the Design Space of Diffusion-Based Generative Models", 2022), Eq. 5, from 0."""
        config = scheduler.config
        ramp = torch.linspace(0, 1, config.num_train_timesteps, dtype=torch.float64)
        low, high = (sigma ** (1 / config.rho) for sigma in (config.sigma_min, config.sigma_max))
        sigma = ((low + ramp * (high - low)) ** config.rho).float()
        return torch.stack([torch.ones_like(sigma), sigma])

    def denoise(self, network: Callable, x: Tensor, t: Tensor, class_labels: Tensor | None) -> None:
        sigma = self.levels[1].to(x.device)[t]
        # Their code scales the image to variance 1, and tells 1000 / 4 times the logarithm of the level.
        scale = (sigma.square() + self._sigma_data**2).rsqrt().view(-1, 1, 1, 1)
        network((scale * x).to(x.dtype), 250 * sigma.log(), class_labels)
