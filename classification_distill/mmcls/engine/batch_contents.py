"""What a batch of the dataloader holds, for messages and files."""

from collections.abc import Iterator

import numpy as np
import torch
from mmengine.structures import BaseDataElement

NAMED = 16  # images that a message names


def name_images(batch) -> str:
    """The paths of a batch's images, or their indices in the data set where they have none."""
    samples = [sample.to_dict() for sample in _data_elements(batch)]
    names = [str(sample.get('img_path') or f'image {sample.get("sample_idx")}') for sample in samples]
    rest = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
    return f'{len(names)} images: {", ".join(names[:NAMED])}{rest}'


def _data_elements(batch) -> Iterator[BaseDataElement]:
    if isinstance(batch, BaseDataElement):
        yield batch
    elif isinstance(batch, dict | list | tuple):
        for part in batch.values() if isinstance(batch, dict) else batch:
            yield from _data_elements(part)


def to_plain(value):
    """Turn into dicts and lists of CPU tensors, numbers and strings: ``torch.load(weights_only=True)`` reads them."""
    if isinstance(value, BaseDataElement):
        value = value.to_dict()
    if isinstance(value, dict):
        return {str(key): to_plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(part) for part in value]
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray | np.generic):
        return to_plain(value.tolist()) if value.dtype.kind not in 'biuf' else torch.from_numpy(np.array(value))
    return value if isinstance(value, str | int | float | None) else str(value)
