"""Text-conditional latent diffusion, given the empty prompt."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...errors import UnusableInputError
from .diffusers_teacher import MIDDLE
from .latent_teacher import LatentDiffusionTeacher
from .pipelines import load_pipeline

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline


@MODELS.register_module()
class StableDiffusionTeacher(LatentDiffusionTeacher):
    """Stable Diffusion 1 and 2 with the empty prompt, whose embedding is computed once; the text encoder is dropped.

    Args:
        pretrained: Hub id, or the folder of a saved ``StableDiffusionPipeline``.
        layers: Names of the U-Net's modules to read.
        options: As in ``BaseTeacher``: ``noise``, ``dtype``, ``compile``.

    Raises:
        FileNotFoundError: When the pipeline cannot be found or fetched.
        ValueError: When it is no Stable Diffusion 1 or 2, or one for inpainting, or as in ``BaseTeacher``.
    """

    def __init__(self, pretrained: str, layers: Sequence[str] = (MIDDLE,), **options):
        pipeline = load_pipeline(
            pretrained,
            'StableDiffusionPipeline',
            {'unet': 'UNet2DConditionModel', 'vae': 'AutoencoderKL', 'text_encoder': 'CLIPTextModel'},
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        latent_channels = pipeline.vae.config.latent_channels
        if pipeline.unet.config.in_channels != latent_channels:
            raise UnusableInputError(
                f'teacher.pretrained={pretrained!r} takes {pipeline.unet.config.in_channels} channels, its latents '
                f'have {latent_channels}: a model for inpainting or depth is no teacher.'
            )
        prompt = nn.ParameterDict({'embedding': _embed_empty_prompt(pipeline)})
        super().__init__(
            pipeline.unet, pipeline.vae, pipeline.scheduler, layers, companions={'prompt': prompt}, **options
        )

    def denoise(self, network: Callable, x: Tensor, t: Tensor, class_labels: Tensor | None) -> None:
        prompt = self.held['prompt']['embedding'].to(x.device)
        network(x, t, encoder_hidden_states=prompt.expand(len(x), -1, -1))


@torch.no_grad()
def _embed_empty_prompt(pipeline: 'StableDiffusionPipeline') -> Tensor:
    """``(1, tokens, D)``"""
    tokens = pipeline.tokenizer(
        '', padding='max_length', max_length=pipeline.tokenizer.model_max_length, return_tensors='pt'
    )
    return pipeline.text_encoder(tokens.input_ids)[0]
