"""A guided-diffusion checkpoint as a diffusers pipeline: read, rename, check, load."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import MissingFileError, UnusableInputError
from ...files import written_whole
from ...weights import load_checkpoint
from .variants import VARIANTS, ADMVariant, get_variant

if TYPE_CHECKING:
    from diffusers import DDPMPipeline, UNet2DModel

_RES_BLOCK = {
    'in_layers.0': 'norm1',
    'in_layers.2': 'conv1',
    'emb_layers.1': 'time_emb_proj',
    'out_layers.0': 'norm2',
    'out_layers.3': 'conv2',
    'skip_connection': 'conv_shortcut',
}


def load_guided_diffusion(checkpoint: str | Path, variant: str | dict) -> 'DDPMPipeline':
    """Load a checkpoint of guided-diffusion as a diffusers pipeline, in float32 on the CPU.

    Args:
        checkpoint: The ``.pt`` file.
        variant: A name in ``VARIANTS``, or a dict of ``ADMVariant``'s flags.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When the file is damaged, holds more than tensors, or is not of this variant.
    """
    from diffusers import DDPMPipeline, DDPMScheduler

    architecture = get_variant(variant)
    unet = load_unet(read_tensors(checkpoint), architecture, f'{checkpoint} is not a checkpoint of variant {variant!r}')
    return DDPMPipeline(unet, DDPMScheduler(**architecture.scheduler_config()))


def load_unet(weights: Mapping[str, Tensor], architecture: ADMVariant, complaint: str) -> 'UNet2DModel':
    """The U-Net of guided-diffusion's tensors, in float32 on the CPU.

    Raises:
        UnusableInputError: When they are not of this architecture; the message begins with ``complaint``.
    """
    unet = build_unet(architecture)
    if problem := _misfit(weights, architecture, unet):
        raise UnusableInputError(f'{complaint}: {problem}')
    unet.load_state_dict(convert_tensors(weights, architecture), assign=True)
    return unet.float().eval()


def choose_variant(checkpoint: Path, variant: str | None) -> str | dict:
    """The variant asked for, a name or a JSON file of flags, or the one whose published file has this name.

    Raises:
        UnusableInputError: When none was asked for and the name tells none.
    """
    if variant is not None:
        return _read_flags(Path(variant)) if variant.endswith('.json') else variant
    published = {f'{n}x{n}_diffusion': f'{n}' for n in (64, 128, 256, 512)} | {'256x256_diffusion_uncond': '256-uncond'}
    if checkpoint.stem not in published:
        raise UnusableInputError(
            f'{checkpoint.name} is not the name of a published checkpoint: say what it is by --variant.'
        )
    return published[checkpoint.stem]


def _read_flags(path: Path) -> dict:
    if not path.is_file():
        raise MissingFileError(f'variant={str(path)!r}: there is no such file in {Path.cwd()}.')
    try:
        flags = json.loads(path.read_text())
    except ValueError as error:
        raise UnusableInputError(f'variant={str(path)!r} is no JSON: {error}.') from error
    if not isinstance(flags, dict):
        raise UnusableInputError(f"variant={str(path)!r}: expected an object of guided-diffusion's flags.")
    return flags


def convert(checkpoint: Path, folder: Path, variant: str | None = None) -> 'DDPMPipeline':
    """Write a checkpoint of guided-diffusion as the folder of a diffusers pipeline, once.

    Raises:
        RepFusionError: When ``folder`` exists, or the checkpoint cannot be read as ``variant``.
    """
    if folder.exists():
        raise UnusableInputError(f'{folder} exists. Give the name of a new folder.')
    pipeline = load_guided_diffusion(checkpoint, choose_variant(checkpoint, variant))
    with written_whole(folder) as partial:
        pipeline.save_pretrained(partial)
    return pipeline


def build_unet(architecture: ADMVariant) -> 'UNet2DModel':
    """The architecture without weights, on the meta device; a plain ``UNet2DModel`` wherever that can express it."""
    from diffusers import UNet2DModel

    from .adm_unet import ADMUNet2DModel

    config = architecture.unet_config()
    adjusted = 'num_attention_heads' in config or 'timestep_channels' in config
    with torch.device('meta'):
        return (ADMUNet2DModel if adjusted else UNet2DModel)(**config)


def convert_tensors(weights: Mapping[str, Tensor], architecture: ADMVariant) -> dict[str, Tensor]:
    """Rename guided-diffusion's tensors to diffusers' and split the attention's ``qkv``."""
    converted = {}
    for old, new in _plain_layers(architecture):
        for kind in ('weight', 'bias'):
            if f'{old}.{kind}' in weights:
                converted[f'{new}.{kind}'] = weights[f'{old}.{kind}']
    for old, new in _attentions(architecture):
        for kind in ('weight', 'bias'):
            converted[f'{new}.group_norm.{kind}'] = weights[f'{old}.norm.{kind}']
            converted[f'{new}.to_out.0.{kind}'] = _without_kernel(weights[f'{old}.proj_out.{kind}'])
            for name, part in zip('qkv', _split_qkv(weights[f'{old}.qkv.{kind}'], architecture), strict=True):
                converted[f'{new}.to_{name}.{kind}'] = part
    return converted


def _split_qkv(qkv: Tensor, architecture: ADMVariant) -> tuple[Tensor, ...]:
    """Weight ``(3C, C, 1)`` or bias ``(3C,)`` as three of ``C`` rows."""
    qkv = _without_kernel(qkv)
    if architecture.use_new_attention_order:
        return qkv.chunk(3)
    channels = len(qkv) // 3
    heads = architecture.num_heads or channels // architecture.num_head_channels
    by_head = qkv.unflatten(0, (heads, 3, channels // heads))
    return tuple(part.flatten(0, 1) for part in by_head.unbind(1))


def _without_kernel(tensor: Tensor) -> Tensor:
    """The matrix of a convolution of one pixel, in one or two dimensions; a bias as it is."""
    return tensor.flatten(1) if tensor.dim() > 1 else tensor


def blocks(architecture: ADMVariant) -> Iterator[tuple[str, str, str]]:
    """Kind, name in guided-diffusion and name in diffusers of each residual and attention block."""
    attention = ['Attn' in name for name in architecture.unet_config()['down_block_types']]
    last, depth = len(attention) - 1, architecture.num_res_blocks
    for i, attends in enumerate(attention):
        first = 1 + i * (depth + 1)
        for j in range(depth):
            yield 'res', f'input_blocks.{first + j}.0', f'down_blocks.{i}.resnets.{j}'
            if attends:
                yield 'attention', f'input_blocks.{first + j}.1', f'down_blocks.{i}.attentions.{j}'
        if i < last:
            yield 'res', f'input_blocks.{first + depth}.0', f'down_blocks.{i}.downsamplers.0'
    yield 'res', 'middle_block.0', 'mid_block.resnets.0'
    yield 'attention', 'middle_block.1', 'mid_block.attentions.0'
    yield 'res', 'middle_block.2', 'mid_block.resnets.1'
    for i, attends in enumerate(reversed(attention)):
        first = i * (depth + 1)
        for j in range(depth + 1):
            yield 'res', f'output_blocks.{first + j}.0', f'up_blocks.{i}.resnets.{j}'
            if attends:
                yield 'attention', f'output_blocks.{first + j}.1', f'up_blocks.{i}.attentions.{j}'
        if i < last:
            yield 'res', f'output_blocks.{first + depth}.{2 if attends else 1}', f'up_blocks.{i}.upsamplers.0'


def _attentions(architecture: ADMVariant) -> Iterator[tuple[str, str]]:
    return ((old, new) for kind, old, new in blocks(architecture) if kind == 'attention')


def _plain_layers(architecture: ADMVariant) -> Iterator[tuple[str, str]]:
    """Names of the layers whose tensors are only renamed."""
    yield from {
        'time_embed.0': 'time_embedding.linear_1',
        'time_embed.2': 'time_embedding.linear_2',
        'label_emb': 'class_embedding',
        'input_blocks.0.0': 'conv_in',
        'out.0': 'conv_norm_out',
        'out.2': 'conv_out',
    }.items()
    for kind, old, new in blocks(architecture):
        if kind == 'res':
            yield from ((f'{old}.{part}', f'{new}.{renamed}') for part, renamed in _RES_BLOCK.items())


def read_tensors(checkpoint: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by guided-diffusion's names.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is damaged, or holds more than tensors.
    """
    if not Path(checkpoint).is_file():
        raise MissingFileError(
            f'{str(checkpoint)!r} is no file. Give the path of a guided-diffusion checkpoint, such as '
            '64x64_diffusion.pt from https://github.com/openai/guided-diffusion.'
        )
    weights = load_checkpoint(checkpoint)
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UnusableInputError(f'{checkpoint} is no guided-diffusion checkpoint: it is not a dict of tensors.')
    return dict(weights)


def _misfit(weights: Mapping[str, Tensor], architecture: ADMVariant, unet: 'UNet2DModel') -> str | None:
    """Why the weights cannot be this architecture's, before one of them is copied."""
    given, expected = sum(w.numel() for w in weights.values()), unet.num_parameters()
    if given != expected:
        fitting = [name for name, other in VARIANTS.items() if build_unet(other).num_parameters() == given]
        advice = f'; it is one of variant {fitting[0]!r}' if fitting else ''
        return f'it holds {given:,} parameters, expected {expected:,}{advice}.'
    try:
        converted = convert_tensors(weights, architecture)
    except KeyError as error:
        return f'it has no tensor {error}.'
    shapes = unet.state_dict()
    if missing := sorted(shapes.keys() - converted.keys()):
        return f'it lacks the tensors of {", ".join(missing[:5])}.'
    for key, value in converted.items():
        if value.shape != shapes[key].shape:
            return f'{key} is {tuple(value.shape)}, expected {tuple(shapes[key].shape)}.'
    return None
