from .adm_teacher import ADMTeacher
from .base import BaseTeacher
from .diffusers_teacher import DiffusersTeacher, UNetTeacher
from .dit_teacher import DiTTeacher
from .latent_teacher import LatentDiffusionTeacher, LatentTeacher
from .stable_diffusion_teacher import StableDiffusionTeacher

__all__ = [
    'ADMTeacher',
    'BaseTeacher',
    'DiTTeacher',
    'DiffusersTeacher',
    'LatentDiffusionTeacher',
    'LatentTeacher',
    'StableDiffusionTeacher',
    'UNetTeacher',
]
