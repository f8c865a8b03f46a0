"""The families of text-to-image pipelines: what each needs beside what its pipeline says of itself."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from .diffusers_teacher import MIDDLE


@dataclass(frozen=True)
class Family:
    """What a family of pipelines needs beside what its pipeline says of itself.

    Attributes:
        layer: From the denoiser to the layer that is read by default.
        call: From the denoiser to further arguments of the pipeline's call for the empty prompt.
        left_out: Components that the empty prompt does without.
        scale: Of the latents, where the pipeline does not use the autoencoder's.
        input_size: Height and width of the denoiser's input, where its config does not say them.
    """

    layer: Callable[[nn.Module], str]
    call: Callable[[nn.Module], dict] = field(default=lambda network: {})
    left_out: tuple[str, ...] = ()
    scale: float | None = None
    input_size: int | None = None


def _middle(blocks: str, suffix: str = '') -> Callable[[nn.Module], str]:
    """The last block of the first half; with a suffix, a part of the block after it."""
    return lambda network: f'{blocks}.{len(network.get_submodule(blocks)) // 2 - (not suffix)}{suffix}'


def _sdxl_layer(network: nn.Module) -> str:
    # Of literature.py's, block 7 of 10.
    blocks = network.up_blocks[0].attentions[0].transformer_blocks
    return f'up_blocks.0.attentions.0.transformer_blocks.{round(0.7 * len(blocks))}'


def _flux_layer(network: nn.Module) -> str:
    # Of literature.py's, block 28 of 57, modulated: outputs of blocks carry massive activations in a few channels.
    count = len(network.transformer_blocks) + len(network.single_transformer_blocks)
    return f'single_transformer_blocks.{max(0, count // 2 - len(network.transformer_blocks))}.norm'


def _no_prompt(network: nn.Module) -> dict:
    # SDXL was trained with zeros for the empty prompt (force_zeros_for_empty_prompt), not with its embedding.
    config = network.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    embedding, pooled = torch.zeros(1, 77, config.cross_attention_dim), torch.zeros(1, pooled)
    return {'prompt_embeds': embedding, 'pooled_prompt_embeds': pooled, 'prompt': None}


def _flux_call(network: nn.Module) -> dict:
    # schnell, which takes no guidance, was distilled with 256 tokens.
    return {} if network.config.guidance_embeds else {'max_sequence_length': 256}


def _no_image(network: nn.Module) -> dict:
    zeros = torch.zeros(1, network.config.encoder_hid_dim)
    return {'image_embeds': zeros, 'negative_image_embeds': zeros}


#: By ``_class_name`` of ``model_index.json``.
FAMILIES = {
    'StableDiffusionPipeline': Family(lambda network: MIDDLE),
    'StableDiffusionImg2ImgPipeline': Family(lambda network: MIDDLE),
    'StableDiffusionXLPipeline': Family(
        _sdxl_layer, _no_prompt, ('text_encoder', 'text_encoder_2', 'tokenizer', 'tokenizer_2')
    ),
    # Without T5 the pipeline tells zeros in its place, as SD 3 was trained with for a share of the images.
    'StableDiffusion3Pipeline': Family(
        _middle('transformer_blocks', '.norm1'), left_out=('text_encoder_3', 'tokenizer_3')
    ),
    'FluxPipeline': Family(_flux_layer, _flux_call, input_size=128),
    'PixArtAlphaPipeline': Family(_middle('transformer_blocks')),
    'PixArtSigmaPipeline': Family(_middle('transformer_blocks')),
    'SanaPipeline': Family(_middle('transformer_blocks')),
    'KandinskyV22Pipeline': Family(lambda network: MIDDLE, _no_image, scale=1.0),
    'IFPipeline': Family(lambda network: MIDDLE),
    'AuraFlowPipeline': Family(_middle('single_transformer_blocks')),
    'Lumina2Pipeline': Family(_middle('layers')),
    'QwenImagePipeline': Family(_middle('transformer_blocks'), input_size=128),
}
