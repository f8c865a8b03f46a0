from .data_errors import DataErrorHook
from .ddpm import DDPMPipelineHook, DDPMSampleHook
from .epoch_position import EpochPositionHook
from .feature_picture import FeaturePictureHook
from .finite_loss import FiniteLossHook
from .interruption import InterruptionHook
from .iteration_seed import IterationSeedHook
from .safe_checkpoint import SafeCheckpointHook
from .teacher_classes import TeacherClassesHook
from .timestep_policy import TimestepHistogramHook

__all__ = [
    'DDPMPipelineHook',
    'DDPMSampleHook',
    'DataErrorHook',
    'EpochPositionHook',
    'FeaturePictureHook',
    'FiniteLossHook',
    'InterruptionHook',
    'IterationSeedHook',
    'SafeCheckpointHook',
    'TeacherClassesHook',
    'TimestepHistogramHook',
]
