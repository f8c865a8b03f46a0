"""The annotations of a batch, as a list of samples or as tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader


class SampleBatch(InstanceData):
    """The annotations of a batch, each one tensor or list: ``gt_label (N,)`` and ``sample_idx (N,)``, int64.

    It is a sequence of MMPretrain's ``DataSample`` for those who want one for each image.
    """

    def to(self, *args, **kwargs) -> 'SampleBatch':
        """Move all but ``sample_idx``, which is asked for image by image, and would let the device wait."""
        moved = super().to(*args, **kwargs)
        moved.sample_idx = self.sample_idx
        return moved

    def __getitem__(self, item):
        if not isinstance(item, int):
            return super().__getitem__(item)
        if not -len(self) <= item < len(self):
            raise IndexError(f'There is no sample {item} in a batch of {len(self)}.')
        sample = DataSample(metainfo={'sample_idx': int(self.sample_idx[item])})
        if 'img_path' in self:
            sample.set_field(self.img_path[item], 'img_path', field_type='metainfo')
        if 'gt_label' in self:
            sample.set_gt_label(self.gt_label[item])
        return sample


Samples = SampleBatch | Sequence[BaseDataElement]


def has(samples: Samples, field: str) -> bool:
    """Whether every image of a batch has this annotation."""
    return field in samples if isinstance(samples, SampleBatch) else all(field in sample for sample in samples)


def collect(samples: Samples, field: str) -> Tensor:
    """One annotation of every image of a batch, the first dimension being the images."""
    if isinstance(samples, SampleBatch):
        return samples[field]
    values = [sample.get(field) for sample in samples]
    return torch.cat(values) if isinstance(values[0], Tensor) else torch.tensor(values)


def load_spread(dataloader: DataLoader, count: int) -> tuple[int, dict]:
    """Up to ``count`` images, spread over the data set: their number, and the batch of them."""
    dataset = dataloader.dataset
    count = min(count, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, count).astype(int).tolist()
    fetch = getattr(dataset, '__getitems__', None) or (lambda indices: [dataset[i] for i in indices])
    return count, dataloader.collate_fn(fetch(indices))
