from .ddpm import DDPMPipelineHook, DDPMSampleHook
from .epoch_seed import EpochSeedHook
from .timestep_policy import TimestepHistogramHook, TimestepPolicyHook

__all__ = ['DDPMPipelineHook', 'DDPMSampleHook', 'EpochSeedHook', 'TimestepHistogramHook', 'TimestepPolicyHook']
