from .batch_augments import BatchColorJitter, BatchCrop, BatchFlip, BatchResizedCrop
from .in_memory import ImagesInMemory, whole_batch
from .preprocessor import BatchPreprocessor
from .samples import SampleBatch

__all__ = [
    'BatchColorJitter',
    'BatchCrop',
    'BatchFlip',
    'BatchPreprocessor',
    'BatchResizedCrop',
    'ImagesInMemory',
    'SampleBatch',
    'whole_batch',
]
