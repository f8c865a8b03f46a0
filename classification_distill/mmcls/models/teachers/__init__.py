from .adm_teacher import ADMTeacher
from .base import BaseTeacher
from .classifier_teacher import ClassifierTeacher
from .consistency_teacher import ConsistencyTeacher
from .diffusers_teacher import DiffusersTeacher, UNetTeacher
from .dit_teacher import DiTTeacher
from .edm_teacher import EDMTeacher
from .feature_standardizer import FeatureStandardizer
from .latent_teacher import LatentDiffusionTeacher, LatentTeacher
from .sit_teacher import SiTTeacher
from .text_to_image import TextToImageTeacher

__all__ = [
    'ADMTeacher',
    'BaseTeacher',
    'ClassifierTeacher',
    'ConsistencyTeacher',
    'DiTTeacher',
    'DiffusersTeacher',
    'EDMTeacher',
    'FeatureStandardizer',
    'LatentDiffusionTeacher',
    'LatentTeacher',
    'SiTTeacher',
    'TextToImageTeacher',
    'UNetTeacher',
]
