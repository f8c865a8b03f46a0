from .adm_unet import ADMUNet2DModel
from .conversion import build_unet, choose_variant, convert, load_guided_diffusion
from .variants import VARIANTS, ADMVariant, get_variant

__all__ = [
    'VARIANTS',
    'ADMUNet2DModel',
    'ADMVariant',
    'build_unet',
    'choose_variant',
    'convert',
    'get_variant',
    'load_guided_diffusion',
]
