from .checkpoints import SafeCheckpointHook
from .data_errors import DataErrorHook
from .dry_run import dry_run
from .feature_cache import FeatureCacheHook
from .finite import FiniteLossHook
from .gpu import DeferredLogHook
from .launch import evaluate, prepare_config, train
from .preflight import PretrainedWeightsHook
from .repeatable import EpochPositionHook, IterationSeedHook
from .stopping import InterruptionHook
from .teacher_classes import TeacherClassesHook

__all__ = [
    'DataErrorHook',
    'DeferredLogHook',
    'EpochPositionHook',
    'FeatureCacheHook',
    'FiniteLossHook',
    'InterruptionHook',
    'IterationSeedHook',
    'PretrainedWeightsHook',
    'SafeCheckpointHook',
    'TeacherClassesHook',
    'dry_run',
    'evaluate',
    'prepare_config',
    'train',
]
