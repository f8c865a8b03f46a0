from .conversion import build_unet, choose_variant, convert, load_guided_diffusion
from .variants import VARIANTS, ADMVariant, get_variant

__all__ = [
    'VARIANTS',
    'ADMVariant',
    'build_unet',
    'choose_variant',
    'convert',
    'get_variant',
    'load_guided_diffusion',
]
