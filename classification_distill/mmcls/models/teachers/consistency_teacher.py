"""Consistency models, whose noise levels are Karras's."""

from collections.abc import Sequence

from mmpretrain.registry import MODELS

from .diffusers_teacher import MIDDLE
from .karras_teacher import KarrasTeacher
from .noise import KarrasProcess
from .pipelines import load_pipeline


@MODELS.register_module()
class ConsistencyTeacher(KarrasTeacher):
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
        config = pipeline.scheduler.config
        process = KarrasProcess(
            config.num_train_timesteps,
            time_factor=250,  # a quarter, by thousand as of a DDPM's timesteps
            **{name: config[name] for name in ('sigma_min', 'sigma_max', 'rho', 'sigma_data')},
        )
        super().__init__(pipeline.unet, process, layers, **options)
