"""Unconditional pixel-space diffusion models in diffusers' format."""

from collections.abc import Callable, Sequence
from pathlib import Path

from diffusers import DDPMPipeline, UNet2DModel
from mmpretrain.registry import MODELS
from torch import Tensor

from .base import BaseTeacher


@MODELS.register_module()
class DiffusersTeacher(BaseTeacher):
    """The ``UNet2DModel`` of a diffusers pipeline, such as ``google/ddpm-cifar10-32``.

    Args:
        pretrained: Hub id, or the folder of a saved pipeline (``model_index.json`` and what it names).
        layers: Names of the U-Net's modules to read.

    Raises:
        FileNotFoundError: When ``pretrained`` is a folder without a pipeline, or cannot be fetched from the hub.
        ValueError: When the pipeline is not one of unconditional pixel-space diffusion, or for ``layers`` as in
            :class:`BaseTeacher`.
    """

    def __init__(self, pretrained: str, layers: Sequence[str] = ('mid_block.resnets.1.conv2',)):
        pipeline = _load_pipeline(pretrained)
        size = pipeline.unet.config.sample_size
        super().__init__(
            pipeline.unet,
            layers,
            sample_size=(size, size) if isinstance(size, int) else tuple(size),
            num_timesteps=pipeline.scheduler.config.num_train_timesteps,
        )
        self.pretrained = pretrained

    def denoise(self, network: Callable, images: Tensor, t: Tensor, class_labels: Tensor | None) -> None:
        network(images, t, class_labels)


def _load_pipeline(pretrained: str) -> DDPMPipeline:
    folder = Path(pretrained)
    if not str(pretrained):
        raise FileNotFoundError('teacher.pretrained is empty: give a hub id or the folder of a diffusers pipeline.')
    if folder.exists() and not (folder / 'model_index.json').is_file():
        raise FileNotFoundError(
            f'teacher.pretrained={pretrained!r} is no diffusers pipeline: it holds no model_index.json. Give the '
            'folder that pipeline.save_pretrained() wrote.'
        )
    try:
        pipeline = DDPMPipeline.from_pretrained(pretrained)
    except (OSError, ValueError) as error:
        if folder.exists():
            raise FileNotFoundError(f'The diffusers pipeline in {pretrained!r} does not load: {error}') from error
        raise FileNotFoundError(
            f'teacher.pretrained={pretrained!r} is neither a folder here nor a model that the Hugging Face hub gave. '
            'Check the spelling; without a network, copy the pipeline folder to this machine and give its path. '
            f'({type(error).__name__}: {str(error).splitlines()[0]})'
        ) from error
    unet = pipeline.unet
    if not isinstance(unet, UNet2DModel) or unet.config.in_channels != 3:
        raise ValueError(
            f'teacher.pretrained={pretrained!r} holds a {type(unet).__name__}; DiffusersTeacher reads unconditional '
            'UNet2DModel pipelines on images of 3 channels.'
        )
    return pipeline
