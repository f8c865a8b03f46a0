from .ddpm import DDPMPipelineHook, DDPMSampleHook
from .features import FeaturePictureHook
from .timesteps import TimestepHistogramHook

__all__ = ['DDPMPipelineHook', 'DDPMSampleHook', 'FeaturePictureHook', 'TimestepHistogramHook']
