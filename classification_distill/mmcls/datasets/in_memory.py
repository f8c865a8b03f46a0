"""Images that are decoded once, held as one array, and fetched by the batch."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import FUNCTIONS
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ..configs import type_name
from ..errors import UnusableInputError
from ..files import cache_folder, written_whole
from ..progress import ProgressBar
from .draws import seeded
from .sample_errors import name_errors
from .samples import SampleBatch

# Named in the message; that nothing else draws is tried on some images, where what draws seldom can be missed.
DRAWING = ('Random', 'ColorJitter', 'AutoAugment', 'RandAugment', 'Lighting', 'Albu')


@FUNCTIONS.register_module()
def whole_batch(batch: dict) -> dict:
    """The ``collate_fn`` for data sets that give whole batches: there is nothing left to do."""
    return batch


def one_by_one(dataset: dict) -> dict:
    """The config of a data set that decodes images when they are asked for, for who wants a few of them."""
    return dataset['dataset'] if type_name(dataset) == 'ImagesInMemory' else dataset


@DATASETS.register_module()
class ImagesInMemory(Dataset):
    """A data set of classification whose images, all of one size, are held as one array of bytes.

    A batch is copied out of it at once, ``inputs (N, 3, H, W)`` as uint8 and a ``SampleBatch``; take
    ``collate_fn=dict(type='whole_batch')`` and no workers. What is drawn anew each time is drawn by the batch, on the
    device of the model: ``BatchPreprocessor``.

    Images of files are decoded once, with a bar, into a file that all processes map; it is found again while the files
    and the pipeline are the same.

    Args:
        dataset: Config of an MMPretrain data set; its ``pipeline`` decodes, resizes and packs, and draws nothing.
        folder: Where decoded images are kept, by default ``~/.cache/repfusion/images`` (``XDG_CACHE_HOME`` moves it).
        limit: GiB that the images may take.
        indices: Some of the images, by number, or the first so many, as in MMPretrain's data sets.

    Raises:
        UnusableInputError: When the pipeline draws, images differ in size, or they take more than ``limit``.
    """

    def __init__(
        self,
        dataset: dict,
        folder: str | None = None,
        limit: float = 16.0,
        indices: int | Sequence[int] | None = None,
    ):
        if indices is not None:
            dataset = dataset | {'indices': indices}
        if drawing := [name for name in map(type_name, dataset.get('pipeline', ())) if name.startswith(DRAWING)]:
            raise UnusableInputError(
                f'ImagesInMemory decodes each image once, and its pipeline draws: {", ".join(drawing)}. Give '
                'data_preprocessor.augments of BatchPreprocessor instead, such as BatchCrop and BatchFlip.'
            )
        self.dataset = DATASETS.build(dataset)
        name_errors(self.dataset)
        self._infos = [self.dataset.get_data_info(i) for i in range(len(self.dataset))]
        self._labels = None
        if self._infos and 'gt_label' in self._infos[0]:
            self._labels = torch.tensor([int(info['gt_label']) for info in self._infos])
        self._paths = [info['img_path'] for info in self._infos] if 'img' not in self._infos[0] else None
        first = self.dataset[0]['inputs']
        self._shape = tuple(first.shape)
        if first.dtype != torch.uint8:
            raise UnusableInputError(
                f'ImagesInMemory holds bytes, and its pipeline gives {first.dtype}: leave Normalize and other scaling '
                'to data_preprocessor.'
            )
        if self._draws():
            raise UnusableInputError(
                'ImagesInMemory decodes each image once, and its pipeline gives another one each time. Give '
                'data_preprocessor.augments of BatchPreprocessor instead, such as BatchCrop and BatchFlip.'
            )
        size = len(self.dataset) * first.numel() / 2**30
        if size > limit:
            raise UnusableInputError(
                f'{len(self.dataset):,} images of {self._shape} take {size:.1f} GiB, and ImagesInMemory.limit is '
                f'{limit:g}. Raise it, or use the data set itself, which decodes them anew each time.'
            )
        if self._paths is None:
            self.images = self._decode(np.empty((len(self.dataset), *self._shape), np.uint8))
        else:
            folder = Path(folder or cache_folder('images')).expanduser()
            self.images = self._map(folder / f'{self._file_fingerprint(dataset)}.npy')
        del self._infos

    @property
    def metainfo(self) -> dict:
        """dict: Of the data set, such as its ``classes``."""
        return self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        batch = self.__getitems__([range(len(self))[index]])
        return {'inputs': batch['inputs'][0], 'data_samples': batch['data_samples'][0]}

    def __getitems__(self, indices: Sequence[int]) -> dict:
        """The images and annotations of a batch; DataLoader asks for all at once."""
        indices = np.asarray(indices)
        # Into memory that the device reads without the processor waiting for it; workers have no device.
        pinned = torch.cuda.is_available() and get_worker_info() is None
        inputs = torch.empty((len(indices), *self._shape), dtype=torch.uint8, pin_memory=pinned)
        np.take(self.images, indices, axis=0, out=inputs.numpy(), mode='clip')  # other modes take a copy on the way
        samples = SampleBatch(sample_idx=torch.from_numpy(indices))
        if self._labels is not None:
            samples.gt_label = self._labels[samples.sample_idx]
        if self._paths is not None:
            samples.img_path = [self._paths[index] for index in indices]
        return {'inputs': inputs, 'data_samples': samples}

    def get_data_info(self, index: int) -> dict:
        """As of the data set."""
        return self.dataset.get_data_info(index)

    def _draws(self) -> bool:
        """Whether some of the images differ when they are read again, with other random numbers."""
        read = []
        for seed in range(3):
            with seeded(seed):
                read.append([self.dataset[i]['inputs'] for i in range(min(8, len(self.dataset)))])
        return any(not torch.equal(one, other) for again in read[1:] for one, other in zip(read[0], again, strict=True))

    def fingerprint(self) -> str:
        """Changes with the labels, with the files' names and sizes, and with the images, of which 1,000 are looked at.

        It does not change when files are copied to another place.
        """
        digest = hashlib.sha256(f'{self.images.shape}'.encode() + self.images[:: max(1, len(self) // 1000)].tobytes())
        digest.update(b'' if self._labels is None else self._labels.numpy().tobytes())
        for path in self._paths or ():
            digest.update(os.fsencode(f'{os.path.basename(path)} {os.path.getsize(path)}\n'))
        return digest.hexdigest()[:32]

    def _file_fingerprint(self, config: dict) -> str:
        """Changes with the config, with the files' names, and with what is in them."""
        digest = hashlib.sha256(repr(config).encode())
        for path in self._paths:
            status = os.stat(path)
            digest.update(os.fsencode(f'{path} {status.st_size} {status.st_mtime_ns}\n'))
        return digest.hexdigest()[:32]

    def _map(self, path: Path) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix('.lock'), 'w') as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)  # of several processes one decodes, and the others wait for it
            if not path.is_file():
                self._check_room(path.parent)
                with written_whole(path) as partial:
                    shape = (len(self.dataset), *self._shape)
                    self._decode(np.lib.format.open_memmap(partial, 'w+', np.uint8, shape))
        return np.load(path, mmap_mode='r')

    def _check_room(self, folder: Path) -> None:
        size, free = len(self.dataset) * int(np.prod(self._shape)), shutil.disk_usage(folder).free
        if size > free:
            raise UnusableInputError(
                f'The decoded images take {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free in {folder}. '
                'Make room, or give ImagesInMemory.folder another.'
            )

    def _decode(self, images: np.ndarray) -> np.ndarray:
        # To start a worker takes as long as to decode many small images.
        workers = 0 if self._paths is None else min(8, len(os.sched_getaffinity(0)), len(images) // 2000)
        # With a generator of its own: weights are initialised after this, whether there was something to decode or not.
        loader = DataLoader(self.dataset, 64, num_workers=workers, collate_fn=list, generator=torch.Generator())
        with ProgressBar(total=len(images), desc='decoding images once', unit='image', delay=2) as bar:
            for sample in (sample for batch in loader for sample in batch):
                if tuple(sample['inputs'].shape) != self._shape:
                    raise UnusableInputError(
                        f'ImagesInMemory needs images of one size: image {bar.n} '
                        f'({self._infos[bar.n].get("img_path", "")}) is {tuple(sample["inputs"].shape)}, the first '
                        f'{self._shape}. End its pipeline with ResizeEdge and CenterCrop, before PackInputs.'
                    )
                images[bar.n] = sample['inputs'].numpy()
                bar.update()
        return images
