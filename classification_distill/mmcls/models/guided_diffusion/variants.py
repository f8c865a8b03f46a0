"""Architectures of the checkpoints published with guided-diffusion, and their diffusers settings.

"Diffusion Models Beat GANs on Image Synthesis" (Dhariwal and Nichol, NeurIPS 2021), https://github.com/openai/guided-diffusion.
"""

import re
from dataclasses import dataclass, fields

from ...errors import UnusableInputError


@dataclass(frozen=True)
class ADMVariant:
    """One architecture, by guided-diffusion's own flags.

    Those that all its published models share are not here: residual up- and downsampling, scale-shift norm, learned
    sigma, 1,000 diffusion steps.

    Args:
        image_size: Height and width of the images.
        num_channels: Base width.
        num_res_blocks: Residual blocks a level.
        channel_mult: Width of each level, as a multiple of ``num_channels``.
        num_head_channels: Channels of an attention head, where ``num_heads`` is not given.
        num_heads: Attention heads at every level, whatever its width.
        attention_resolutions: Heights, in pixels, at which there is attention.
        class_cond: Whether the model takes one of 1,000 ImageNet classes.
        use_new_attention_order: How the checkpoint's ``qkv`` weights are laid out. Both orders have the same shapes, so
            a wrong one loads and computes nonsense.
        noise_schedule: ``'linear'`` or ``'cosine'``.
    """

    image_size: int
    num_channels: int
    num_res_blocks: int
    channel_mult: tuple[float, ...]
    num_head_channels: int = 64
    num_heads: int | None = None
    attention_resolutions: tuple[int, ...] = (32, 16, 8)
    class_cond: bool = True
    use_new_attention_order: bool = False
    noise_schedule: str = 'linear'

    @property
    def block_out_channels(self) -> tuple[int, ...]:
        """tuple[int, ...]: Width of each level."""
        return tuple(int(multiple * self.num_channels) for multiple in self.channel_mult)

    def unet_config(self) -> dict:
        """Arguments of the ``ADMUNet2DModel`` of this architecture."""
        sides = [self.image_size >> level for level in range(len(self.channel_mult))]
        attention = [side in self.attention_resolutions for side in sides]
        config = {
            'sample_size': self.image_size,
            'out_channels': 6,
            'layers_per_block': self.num_res_blocks,
            'block_out_channels': self.block_out_channels,
            'down_block_types': tuple('AttnDownBlock2D' if a else 'ResnetDownsampleBlock2D' for a in attention),
            'up_block_types': tuple('AttnUpBlock2D' if a else 'ResnetUpsampleBlock2D' for a in reversed(attention)),
            'num_class_embeds': 1000 if self.class_cond else None,
            'resnet_time_scale_shift': 'scale_shift',
            'attn_norm_num_groups': 32,
            'downsample_type': 'resnet',
            'upsample_type': 'resnet',
            'attention_head_dim': self.num_head_channels,
            'time_embedding_dim': 4 * self.num_channels,
        }
        if self.num_heads is not None:
            config['num_attention_heads'] = self.num_heads
        if self.block_out_channels[0] != self.num_channels:
            config['timestep_channels'] = self.num_channels
        return config

    def scheduler_config(self) -> dict:
        """Arguments of the ``DDPMScheduler`` of this architecture."""
        schedule = {'linear': 'linear', 'cosine': 'squaredcos_cap_v2'}[self.noise_schedule]
        return {'beta_schedule': schedule, 'variance_type': 'learned_range'}


_NUMBER = re.compile(r'\s*\d+(\.\d+)?\s*')
_CHANNEL_MULT = {
    64: (1, 2, 3, 4),
    128: (1, 1, 2, 3, 4),
    256: (1, 1, 2, 2, 4, 4),
    512: (0.5, 1, 1, 2, 2, 4, 4),
}

# guided-diffusion's README, "Download pre-trained models" and the flags under "Sampling".
VARIANTS = {
    '64': ADMVariant(64, 192, 3, _CHANNEL_MULT[64], use_new_attention_order=True, noise_schedule='cosine'),
    '128': ADMVariant(128, 256, 2, _CHANNEL_MULT[128], num_heads=4),
    '256': ADMVariant(256, 256, 2, _CHANNEL_MULT[256]),
    '256-uncond': ADMVariant(256, 256, 2, _CHANNEL_MULT[256], class_cond=False),
    '512': ADMVariant(512, 256, 2, _CHANNEL_MULT[512]),
}


def _read_flag(value):
    """A flag as guided-diffusion's command line spells it: ``'1,2,4'``, ``'True'``, ``'64'``."""
    if not isinstance(value, str):
        return tuple(value) if isinstance(value, list) else value
    numbers = [float(part) if '.' in part else int(part) for part in value.split(',') if _NUMBER.fullmatch(part)]
    if len(numbers) == value.count(',') + 1:
        return tuple(numbers) if ',' in value else numbers[0]
    return {'true': True, 'false': False}.get(value.lower(), value)


def get_variant(variant: str | dict) -> ADMVariant:
    """A published variant by name, or one's own by its flags.

    Raises:
        ValueError: When the name is unknown, or a flag is unknown or missing.
    """
    if isinstance(variant, dict):
        try:
            return ADMVariant(**{name: _read_flag(value) for name, value in variant.items()})
        except TypeError as error:
            flags = ', '.join(field.name for field in fields(ADMVariant))
            raise UnusableInputError(f'variant={dict(variant)}: {error}. Flags are: {flags}.') from error
    if variant not in VARIANTS:
        raise UnusableInputError(
            f'variant={variant!r} is none of {", ".join(map(repr, VARIANTS))}. A checkpoint of another architecture '
            'takes a dict of its guided-diffusion flags.'
        )
    return VARIANTS[variant]
