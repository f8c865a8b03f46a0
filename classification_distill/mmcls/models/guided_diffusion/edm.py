"""EDM's checkpoints, NVlabs' pickles and OpenAI's state dicts, as the U-Nets of guided-diffusion that they are.

"Elucidating the Design Space of Diffusion-Based Generative Models" (Karras et al., NeurIPS 2022).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ...errors import UnusableInputError
from ...module_pickles import load_module_pickle, module_tensors
from .conversion import blocks, load_unet, read_tensors
from .variants import ADMVariant, get_variant

if TYPE_CHECKING:
    from diffusers import UNet2DModel

# https://github.com/openai/consistency_models, scripts/launch.sh. Its attention knows one order, whatever the flag.
_ALWAYS = {'use_new_attention_order': True, 'learn_sigma': False}
_LSUN = {
    'image_size': 256,
    'num_channels': 256,
    'num_res_blocks': 2,
    'channel_mult': (1, 1, 2, 2, 4, 4),
    'class_cond': False,
    'use_scale_shift_norm': False,
}
#: Flags of OpenAI's published EDM checkpoints, by their files' stems.
PUBLISHED = {
    'edm_imagenet64_ema': {'image_size': 64, 'num_channels': 192, 'num_res_blocks': 3, 'channel_mult': (1, 2, 3, 4)},
    'edm_bedroom256_ema': _LSUN,
    'edm_cat256_ema': _LSUN,
}
_READ = 'Only an EDMPrecond of a DhariwalUNet is read, such as edm-imagenet-64x64-cond-adm.pkl.'

# NVlabs' names in guided-diffusion's.
_OUTER = {
    'map_layer0': 'time_embed.0',
    'map_layer1': 'time_embed.2',
    'map_label': 'label_emb',
    'out_norm': 'out.0',
    'out_conv': 'out.2',
}
_INNER = {
    'res': {
        'norm0': 'in_layers.0',
        'conv0': 'in_layers.2',
        'affine': 'emb_layers.1',
        'norm1': 'out_layers.0',
        'conv1': 'out_layers.3',
        'skip': 'skip_connection',
    },
    'attention': {'norm2': 'norm', 'qkv': 'qkv', 'proj': 'proj_out'},
}


def load_openai_edm(checkpoint: str | Path, flags: Mapping | None = None) -> 'UNet2DModel':
    """The U-Net of one of OpenAI's EDM checkpoints, in float32 on the CPU.

    Args:
        checkpoint: The ``.pt`` file.
        flags: Its flags, as of ``ADMVariant``; by default those of the published file of this name.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is damaged, holds more than tensors, or does not fit the flags.
    """
    stem = Path(checkpoint).stem
    if flags is None and stem not in PUBLISHED:
        names = ', '.join(f'{name}.pt' for name in PUBLISHED)
        raise UnusableInputError(
            f'{checkpoint} is neither a .pkl of NVlabs nor named as one of {names}: give variant, a dict of its '
            "training's flags."
        )
    architecture = get_variant({**(PUBLISHED[stem] if flags is None else flags), **_ALWAYS})
    return load_unet(read_tensors(checkpoint), architecture, f'{checkpoint} is not a checkpoint of {flags or stem}')


def load_nvlabs_edm(checkpoint: str | Path) -> tuple['UNet2DModel', float]:
    """The U-Net of one of NVlabs' EDM pickles, in float32 on the CPU, and the data's standard deviation.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is damaged, holds more than tensors and plain values, or is of another architecture.
    """
    wrapper = _averaged(checkpoint)
    network = wrapper['_modules']['model']
    architecture = _architecture(network['_init_kwargs'])
    if (narrowest := min(architecture.block_out_channels)) < 128:
        # There NVlabs' group norms have groups of four channels, and diffusers' number of groups is one for all.
        raise UnusableInputError(f'{checkpoint} is {narrowest} channels wide, expected 128 or more. {_READ}')
    unet = load_unet(_renamed(network, architecture), architecture, f'{checkpoint} cannot be read')
    return unet, float(wrapper['sigma_data'])


def _averaged(checkpoint: str | Path) -> dict:
    """The averaged network of a pickle, of the one kind that is read."""
    content = load_module_pickle(checkpoint)
    wrapper = content.get('ema') if isinstance(content, dict) else None
    if not isinstance(wrapper, dict):
        raise UnusableInputError(f'{checkpoint} holds no averaged network, ema. {_READ}')
    inner = wrapper.get('_modules', {}).get('model', {})
    kinds = wrapper.get('class_name'), inner.get('class_name')
    if kinds != ('EDMPrecond', 'DhariwalUNet'):
        raise UnusableInputError(f'{checkpoint} holds a {kinds[0]} of a {kinds[1]}. {_READ}')
    return wrapper


def _architecture(arguments: Mapping) -> ADMVariant:
    """The architecture by the arguments, and the defaults, of NVlabs' constructor."""
    return ADMVariant(
        image_size=arguments['img_resolution'],
        num_channels=arguments.get('model_channels', 192),
        num_res_blocks=arguments.get('num_blocks', 3),
        channel_mult=tuple(arguments.get('channel_mult', (1, 2, 3, 4))),
        attention_resolutions=tuple(arguments.get('attn_resolutions', (32, 16, 8))),
        class_cond=bool(arguments.get('label_dim')),
        num_classes=arguments.get('label_dim') or 0,
        **_ALWAYS,
    )


def _renamed(network: Mapping, architecture: ADMVariant) -> dict[str, Tensor]:
    """The tensors by guided-diffusion's names, without the augmentation's, of which sampling tells nothing."""
    tensors = dict(module_tensors(network))
    first, *parts = [f'{side}.{name}' for side in ('enc', 'dec') for name in network['_modules'][side]['_modules']]
    renamed = {}

    def rename(old: str, new: str) -> None:
        for kind in ('weight', 'bias'):
            if f'{old}.{kind}' in tensors:
                renamed[f'{new}.{kind}'] = _rearranged(old.rpartition('.')[2], tensors[f'{old}.{kind}'])

    for old, new in ({first: 'input_blocks.0.0'} | _OUTER).items():
        rename(old, new)
    # Both list the residual blocks in the order in which they are called; an attention belongs to the one before it.
    waiting = iter(parts)
    part = ''
    for kind, new, _ in blocks(architecture):
        part = next(waiting, '') if kind == 'res' else part
        for inner, inner_new in _INNER[kind].items():
            rename(f'{part}.{inner}', f'{new}.{inner_new}')
    return renamed


def _rearranged(name: str, tensor: Tensor) -> Tensor:
    if name == 'qkv':  # the rows of a query, a key and a value follow each other
        return tensor.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1)
    return tensor.T if name == 'map_label' else tensor  # a matrix for one-hot classes
