from .batch_augments import BatchColorJitter, BatchCrop, BatchFlip, BatchGrey, BatchResizedCrop
from .feature_cache import FeatureCache
from .in_memory import ImagesInMemory, whole_batch
from .preprocessor import BatchPreprocessor, ViewsPreprocessor
from .samples import SampleBatch

__all__ = [
    'BatchColorJitter',
    'BatchCrop',
    'BatchFlip',
    'BatchGrey',
    'BatchPreprocessor',
    'BatchResizedCrop',
    'FeatureCache',
    'ImagesInMemory',
    'SampleBatch',
    'ViewsPreprocessor',
    'whole_batch',
]
