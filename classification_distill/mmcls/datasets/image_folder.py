"""Images of a folder, decoded to squares of one size."""

from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import UnusableInputError
from .image_files import find_images


class ImageFiles(Dataset):
    """The images below a folder, as bytes ``(3, size, size)``, RGB; None where one cannot be read.

    Args:
        folder: The folder.
        size: Side of the square in the middle of each, resized by its shorter edge.
    """

    def __init__(self, folder: Path, size: int):
        if not folder.is_dir():
            raise UnusableInputError(f'There is no folder {str(folder)!r}.')
        self.folder, self.size = folder, size
        self.names = find_images(folder).images
        if not self.names:
            raise UnusableInputError(f'There are no images in {folder}.')

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[str, Tensor | None]:
        name = self.names[index]
        try:
            image = mmcv.imfrombytes((self.folder / name).read_bytes(), channel_order='rgb')
        except (OSError, cv2.error):
            image = None
        if image is None:
            return name, None
        height, width = image.shape[:2]
        scale = self.size / min(height, width)
        shape = (max(self.size, round(width * scale)), max(self.size, round(height * scale)))
        image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        top, left = ((side - self.size) // 2 for side in image.shape[:2])
        image = image[top : top + self.size, left : left + self.size]
        return name, torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def load_classes(folder: Path, size: int) -> tuple[Tensor, Tensor, list[str]]:
    """The images below each class's subfolder.

    Returns:
        tuple: Bytes ``(N, 3, size, size)``, RGB; classes ``(N,)``; and the classes' names.

    Raises:
        UnusableInputError: When an image cannot be read, or there are fewer than two classes, or two images of one.
    """
    files = ImageFiles(folder, size)
    read = [(name, image) for name, image in (files[i] for i in range(len(files))) if '/' in name]
    if broken := [name for name, image in read if image is None]:
        raise UnusableInputError(f'{folder}: {broken[0]} cannot be read; mend it, or take it away.')
    classes = sorted({name.partition('/')[0] for name, _ in read})
    pairs = [(classes.index(name.partition('/')[0]), image) for name, image in read]
    counts = [sum(label == index for label, _ in pairs) for index in range(len(classes))]
    if len(classes) < 2 or min(counts) < 2:
        found = ', '.join(f'{name}: {count}' for name, count in zip(classes, counts, strict=True)) or 'no subfolders'
        raise UnusableInputError(
            f'{folder} holds {found}; a folder of labelled images has a subfolder for each of two classes or more, '
            'with two images or more in each.'
        )
    return torch.stack([image for _, image in pairs]), torch.tensor([label for label, _ in pairs]), classes
