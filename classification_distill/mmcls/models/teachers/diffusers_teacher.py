"""Pixel-space diffusion models in diffusers' format."""

from collections.abc import Callable, Sequence

from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...errors import UnusableInputError
from .base import BaseTeacher
from .pipelines import load_pipeline

MIDDLE = 'mid_block.resnets.1.conv2'


class UNetTeacher(BaseTeacher):
    """A ``UNet2DModel``, class-conditional or not."""

    def class_embeddings(self, network: nn.Module) -> tuple[list[nn.Embedding], int]:
        num_classes = network.config.num_class_embeds or 0
        return [network.class_embedding] if num_classes else [], num_classes

    def denoise(self, network: Callable, x: Tensor, t: Tensor, class_labels: Tensor | None) -> None:
        network(x, t, class_labels)


@MODELS.register_module()
class DiffusersTeacher(UNetTeacher):
    """The ``UNet2DModel`` of a diffusers pipeline, such as ``google/ddpm-cifar10-32``.

    Args:
        pretrained: Hub id, or the folder of a saved pipeline.
        layers: Names of the U-Net's modules to read.
        options: As in ``BaseTeacher``: ``class_labels``, ``noise``, ``dtype``, ``compile``.

    Raises:
        FileNotFoundError: When the pipeline cannot be found or fetched.
        ValueError: When it is not one of pixel-space diffusion, or as in ``BaseTeacher``.
    """

    def __init__(self, pretrained: str, layers: Sequence[str] = (MIDDLE,), **options):
        pipeline = load_pipeline(pretrained, 'DDPMPipeline', {'unet': ('UNet2DModel', 'ADMUNet2DModel')})
        if pipeline.unet.config.in_channels != 3:
            raise UnusableInputError(
                f'teacher.pretrained={pretrained!r} takes {pipeline.unet.config.in_channels} channels; '
                'DiffusersTeacher reads models of RGB images.'
            )
        super().__init__(pipeline.unet, pipeline.scheduler, layers, **options)
