"""Features that a frozen teacher has computed before, kept for the epochs that follow."""

import fcntl
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UnusableInputError
from ..files import write_text


class FeatureCache:
    """Float16 features of fixed views of each image at fixed timesteps, in memory-mapped files.

    An entry is filled when it is first needed. All processes of a machine fill the same files, which outlive a kill;
    their holes take no room on the disk. What was read is as it was rounded, whether it was filled now or before.

    Args:
        views: Views of each image, which the data preprocessor draws.
        folder: Folder of the files, on a disk of this machine; by default ``<work_dir>/feature_cache``.
        limit: GiB that the files may take when they are full.
        seed: Of the views.

    Attributes:
        bytes (int): Size of the files when they are full, once they are open.

    Examples:
        >>> cache = FeatureCache(views=4, folder='/scratch/cache')
        >>> cache.open({'middle': (256, 1, 1)}, 50000, grid=torch.tensor([100]), origin={'layers': ['middle']})
    """

    def __init__(self, views: int, folder: str | None = None, limit: float = 100.0, seed: int = 0):
        if views < 1:
            raise UnusableInputError(f'feature_cache.views={views}: expected 1 or more.')
        self.views = views
        self.folder = folder
        self.limit = limit
        self.seed = seed
        self._arrays: list[np.ndarray] = []

    def _size(self, shapes: Mapping[str, Sequence[int]], num_images: int, num_timesteps: int) -> int:
        entries = num_images * self.views * num_timesteps
        size = entries * (1 + 2 * sum(int(np.prod(shape)) for shape in shapes.values()))
        if size > self.limit * 2**30:
            raise UnusableInputError(
                f'model.feature_cache would take {size / 2**30:,.0f} GiB when full: {num_images:,} images x '
                f'{self.views} views x {num_timesteps} timesteps; its limit is {self.limit:g}. Take fewer '
                'views, a policy of fewer timesteps, averages instead of maps, or raise the limit.'
            )
        return size

    def open(
        self, shapes: Mapping[str, Sequence[int]], num_images: int, grid: Tensor, origin: Mapping[str, object]
    ) -> None:
        """Open the files, or make them.

        Args:
            shapes: Shape of each layer's feature of an image.
            num_images: Images of the data set.
            grid: Timesteps ``(G,)`` that can be asked for, ascending.
            origin: What the features follow from. Files of another origin are refused.

        Raises:
            UnusableInputError: When the folder holds features of another origin, the files would take more than
                ``limit``, or there is no room for them.
        """
        folder = Path(self.folder)
        self.bytes = size = self._size(shapes, num_images, len(grid))
        folder.mkdir(parents=True, exist_ok=True)
        described = json.loads(json.dumps(dict(origin) | {'images': num_images, 'timesteps': grid.tolist(),
                                                          'views': self.views, 'seed': self.seed}))  # fmt: skip
        note = folder / 'origin.json'
        entries = (num_images, self.views, len(grid))
        with open(folder / 'lock', 'w') as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)  # of several processes one makes the files
            if note.is_file():
                self._compare(json.loads(note.read_text()), described)
            else:
                for index, shape in enumerate(shapes.values()):
                    np.lib.format.open_memmap(folder / f'{index}.npy', 'w+', np.float16, (*entries, *shape))
                np.lib.format.open_memmap(folder / 'filled.npy', 'w+', np.uint8, entries)
                write_text(note, json.dumps(described, indent=2) + '\n')
        taken = sum(512 * path.stat().st_blocks for path in folder.glob('*.npy'))
        free = shutil.disk_usage(folder).free
        if size - taken > free:  # a mapped file that finds no room ends the process without a word
            raise UnusableInputError(
                f'model.feature_cache takes up to {(size - taken) / 2**30:,.1f} GiB more, and {free / 2**30:,.1f} GiB '
                f'are free in {folder}. Give it another folder, or fewer views.'
            )
        self._arrays = [np.load(folder / f'{index}.npy', mmap_mode='r+') for index in range(len(shapes))]
        self._filled = np.load(folder / 'filled.npy', mmap_mode='r+')
        self._grid = grid.cpu()

    def read(
        self, indices: Tensor, views: Tensor, t: Tensor, compute: Callable[[Tensor], Sequence[Tensor]]
    ) -> tuple[list[Tensor], float]:
        """The features of a batch.

        Args:
            indices: The images' places in the data set ``(N,)``.
            views: Numbers of their views ``(N,)``.
            t: Timesteps ``(N,)`` of the grid.
            compute: From rows ``(M,)`` of the batch to the features ``(M, ...)`` of each layer, for what is not there.

        Returns:
            tuple: One float32 tensor ``(N, ...)`` a layer, on the device of ``t``, and the share that was there.
        """
        at = tuple(x.cpu().numpy() for x in (indices, views, torch.searchsorted(self._grid, t.cpu())))
        missing = np.flatnonzero(self._filled[at] == 0)
        if len(missing):
            here = tuple(x[missing] for x in at)
            finite = np.ones(len(missing), bool)
            for array, feature in zip(self._arrays, compute(torch.from_numpy(missing).to(t.device)), strict=True):
                half = feature.half()
                known = feature.flatten(1).isfinite().all(1)  # what is no number is not kept: the loss shows it
                finite &= known.cpu().numpy()
                if not half[known].isfinite().all():
                    raise UnusableInputError(
                        f'A feature of {feature[known].abs().max():.3g} is beyond float16, in which '
                        'model.feature_cache keeps them: leave it out.'
                    )
                array[here] = half.cpu().numpy()
            self._filled[here] = finite  # after the features are there
        features = [torch.from_numpy(array[at]).to(t.device, torch.float32) for array in self._arrays]
        return features, 1 - len(missing) / len(t)

    def _compare(self, found: dict, expected: dict) -> None:
        other = [key for key in expected if found.get(key) != expected[key]]
        if other:
            raise UnusableInputError(
                f'{self.folder} holds features of another training: {", ".join(other)} differ, as {other[0]}='
                f'{str(found.get(other[0]))[:200]} there and {str(expected[other[0]])[:200]} here. Remove '
                'the folder, or give model.feature_cache.folder another.'
            )
