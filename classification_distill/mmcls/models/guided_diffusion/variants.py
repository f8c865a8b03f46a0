"""Architectures of the checkpoints published with guided-diffusion, and their diffusers settings.

"Diffusion Models Beat GANs on Image Synthesis" (Dhariwal and Nichol, NeurIPS 2021), https://github.com/openai/guided-diffusion.
"""

from dataclasses import dataclass, fields
from math import gcd

from ...errors import UnusableInputError


@dataclass(frozen=True)
class ADMVariant:
    """One architecture, by guided-diffusion's own flags.

    Those that all its published models share are not here: residual up- and downsampling, 1,000 diffusion steps.

    Args:
        image_size: Height and width of the images.
        num_channels: Base width.
        num_res_blocks: Residual blocks a level.
        channel_mult: Width of each level, as a multiple of ``num_channels``.
        num_head_channels: Channels of an attention head, where ``num_heads`` is not given.
        num_heads: Attention heads at every level, whatever its width.
        attention_resolutions: Heights, in pixels, at which there is attention.
        class_cond: Whether the model takes a class.
        num_classes: Number of its classes, ImageNet's.
        use_new_attention_order: How the checkpoint's ``qkv`` weights are laid out. Both orders have the same shapes, so
            a wrong one loads and computes nonsense.
        learn_sigma: Whether it predicts a variance, too.
        use_scale_shift_norm: Whether the time scales and shifts what is normalised, or is added before.
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
    num_classes: int = 1000
    use_new_attention_order: bool = False
    learn_sigma: bool = True
    use_scale_shift_norm: bool = True
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
            'out_channels': 6 if self.learn_sigma else 3,
            'layers_per_block': self.num_res_blocks,
            'block_out_channels': self.block_out_channels,
            'down_block_types': tuple('AttnDownBlock2D' if a else 'ResnetDownsampleBlock2D' for a in attention),
            'up_block_types': tuple('AttnUpBlock2D' if a else 'ResnetUpsampleBlock2D' for a in reversed(attention)),
            'num_class_embeds': self.num_classes if self.class_cond else None,
            'resnet_time_scale_shift': 'scale_shift' if self.use_scale_shift_norm else 'default',
            'attn_norm_num_groups': 32,
            'downsample_type': 'resnet',
            'upsample_type': 'resnet',
            'attention_head_dim': self.num_head_channels,
            'time_embedding_dim': 4 * self.num_channels,
        }
        if self.num_heads is not None:
            # diffusers builds heads of one width, which must divide all; then it is told their number.
            config |= {'attention_head_dim': gcd(*self.block_out_channels), 'num_attention_heads': self.num_heads}
        if self.block_out_channels[0] != self.num_channels:
            config['timestep_channels'] = self.num_channels
        return config

    def scheduler_config(self) -> dict:
        """Arguments of the ``DDPMScheduler`` of this architecture."""
        schedule = {'linear': 'linear', 'cosine': 'squaredcos_cap_v2'}[self.noise_schedule]
        return {'beta_schedule': schedule, 'variance_type': 'learned_range'}


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


def _read_flags(variant: dict) -> dict:
    """Flags as guided-diffusion's command line spells them too: ``'1,2,4'``, ``'True'``, and its defaults.

    Raises:
        UnusableInputError: When one is neither a number, numbers nor a truth value.
    """
    flags = {name: _read_flag(name, value) for name, value in variant.items()}
    if flags.get('channel_mult') == ():
        flags['channel_mult'] = _CHANNEL_MULT[flags['image_size']]
    if flags.get('num_head_channels') == -1:  # not given: as many heads at each level
        del flags['num_head_channels']
        flags.setdefault('num_heads', 4)
    elif 'num_head_channels' in flags:
        flags.pop('num_heads', None)  # which guided-diffusion then does not look at
    return flags


def _read_flag(name: str, value):
    if name == 'noise_schedule':
        return value
    if name in ('channel_mult', 'attention_resolutions'):
        parts = value.split(',') if isinstance(value, str) else value
        return tuple(_read_number(name, part) for part in parts if str(part).strip())
    if isinstance(value, str) and value.lower() in ('true', 'false'):
        return value.lower() == 'true'
    return _read_number(name, value)


def _read_number(name: str, value):
    if not isinstance(value, str):
        return value
    try:
        return float(value) if '.' in value else int(value)
    except ValueError as error:
        raise UnusableInputError(f'variant: {name}={value!r} is no number.') from error


def get_variant(variant: str | dict) -> ADMVariant:
    """A published variant by name, or one's own by its flags.

    Raises:
        ValueError: When the name is unknown, or a flag is unknown or missing.
    """
    if isinstance(variant, dict):
        try:
            return ADMVariant(**_read_flags(variant))
        except (TypeError, KeyError) as error:
            flags = ', '.join(field.name for field in fields(ADMVariant))
            raise UnusableInputError(f'variant={dict(variant)}: {error}. Flags are: {flags}.') from error
    if variant not in VARIANTS:
        raise UnusableInputError(
            f'variant={variant!r} is none of {", ".join(map(repr, VARIANTS))}. A checkpoint of another architecture '
            'takes a dict of its guided-diffusion flags.'
        )
    return VARIANTS[variant]
