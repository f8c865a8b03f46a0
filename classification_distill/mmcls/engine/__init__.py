from .bfloat16 import Bfloat16OptimWrapper
from .checkpoints import SafeCheckpointHook
from .data_check import DataCheckHook
from .data_errors import DataErrorHook
from .dry_run import dry_run
from .feature_cache import FeatureCacheHook
from .finite import FiniteLossHook
from .gpu import DeferredLogHook, OptimizerLayoutHook
from .last_batch import LastBatchHook
from .launch import evaluate, prepare_config, train
from .pretrained import PretrainedWeightsHook
from .repeatable import EpochPositionHook, IterationSeedHook
from .schedule import ScheduleHook
from .stopping import InterruptionHook
from .student_agreement import StudentAgreementHook
from .student_quality import StudentQualityHook
from .teacher_classes import TeacherClassesHook

__all__ = [
    'Bfloat16OptimWrapper',
    'DataCheckHook',
    'DataErrorHook',
    'DeferredLogHook',
    'EpochPositionHook',
    'FeatureCacheHook',
    'FiniteLossHook',
    'InterruptionHook',
    'IterationSeedHook',
    'LastBatchHook',
    'OptimizerLayoutHook',
    'PretrainedWeightsHook',
    'SafeCheckpointHook',
    'ScheduleHook',
    'StudentAgreementHook',
    'StudentQualityHook',
    'TeacherClassesHook',
    'dry_run',
    'evaluate',
    'prepare_config',
    'train',
]
