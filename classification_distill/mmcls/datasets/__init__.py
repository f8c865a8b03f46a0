from .batch_augments import BatchColorJitter, BatchCrop, BatchFlip, BatchResizedCrop
from .feature_cache import FeatureCache
from .in_memory import ImagesInMemory, whole_batch
from .preprocessor import BatchPreprocessor
from .samples import SampleBatch

__all__ = [
    'BatchColorJitter',
    'BatchCrop',
    'BatchFlip',
    'BatchPreprocessor',
    'BatchResizedCrop',
    'FeatureCache',
    'ImagesInMemory',
    'SampleBatch',
    'whole_batch',
]
