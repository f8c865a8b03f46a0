from .ddpm import DDPMPipelineHook, DDPMSampleHook
from .epoch_seed import EpochSeedHook
from .teacher_classes import TeacherClassesHook
from .timestep_policy import TimestepHistogramHook, TimestepPolicyHook

__all__ = [
    'DDPMPipelineHook',
    'DDPMSampleHook',
    'EpochSeedHook',
    'TeacherClassesHook',
    'TimestepHistogramHook',
    'TimestepPolicyHook',
]
