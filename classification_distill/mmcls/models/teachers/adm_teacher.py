"""Checkpoints of guided-diffusion."""

from collections.abc import Sequence

from mmpretrain.registry import MODELS

from ..guided_diffusion import load_guided_diffusion
from .diffusers_teacher import MIDDLE, UNetTeacher


@MODELS.register_module()
class ADMTeacher(UNetTeacher):
    """A guided-diffusion checkpoint, converted on loading; ``tools/convert_guided_diffusion.py`` does so once.

    Args:
        checkpoint: The ``.pt`` file, such as ``64x64_diffusion.pt``.
        variant: ``'64'``, ``'128'``, ``'256'``, ``'256-uncond'``, ``'512'``, or for a model of one's own a dict of
            guided-diffusion's flags (``ADMVariant``).
        layers: Names of the U-Net's modules to read, by diffusers' names.
        options: As in ``BaseTeacher``: ``class_labels``, ``noise``, ``dtype``, ``compile``.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is damaged, holds more than tensors or is of another variant, or as in
            ``BaseTeacher``.
    """

    def __init__(self, checkpoint: str, variant: str | dict, layers: Sequence[str] = (MIDDLE,), **options):
        pipeline = load_guided_diffusion(checkpoint, variant)
        super().__init__(pipeline.unet, pipeline.scheduler, layers, **options)
