"""A student's features of a folder of images, and the images that are neighbours by them."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..datasets.image_folder import ImageFiles
from ..errors import UnusableInputError
from ..files import written_whole
from ..progress import ProgressBar
from .student import NormalizedStudent, image_size_of, load_student

FEATURES, NAMES = 'features.npy', 'images.txt'


def embed(
    images: str | Path,
    student: str | Path | nn.Module,
    out: str | Path | None = None,
    *,
    image_size: int | None = None,
    batch_size: int = 64,
    workers: int | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Read a student's features of every image of a folder, on a GPU where there is one.

    Args:
        images: Folder of images, at any depth. Those that cannot be read are named and left out.
        student: Checkpoint of a distillation, folder of a published student, or what ``load_student`` gives.
        out: Folder for ``features.npy`` and ``images.txt``, a name a line; None writes nothing.
        image_size: Side in pixels to which images are resized by their shorter edge, and cropped in the middle; by
            default that of the training.
        batch_size: Images of one pass.
        workers: Processes that decode; by default one a core, 8 at most.

    Returns:
        tuple: Averages of the last map ``(N, C)``, float32, and the images' names below the folder.

    Raises:
        RepFusionError: When there are no images, or the student cannot be used.

    Examples:
        >>> features, names = embed('photos', 'work_dirs/photos/student')
        >>> features.shape
        (1200, 512)
    """
    if not isinstance(student, nn.Module):
        image_size = image_size or image_size_of(student)
        student = load_student(student)
    if image_size is None:
        raise UnusableInputError('The size of the images is not known from the student: give image_size.')
    files = ImageFiles(Path(images), image_size)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    workers = min(8, len(os.sched_getaffinity(0))) if workers is None else workers
    loader = DataLoader(files, batch_size, num_workers=workers, collate_fn=list, pin_memory=device == 'cuda')
    features, names, broken = [], [], []
    student = student.to(device)
    with ProgressBar(total=len(files), unit='image') as bar:
        for batch in loader:
            read = [(name, image) for name, image in batch if image is not None]
            broken += [name for name, image in batch if image is None]
            if read:
                features.append(_average(student, torch.stack([image for _, image in read]).to(device)))
                names += [name for name, _ in read]
            bar.update(len(batch))
    if broken:
        more = f' and {len(broken) - 5} more' if len(broken) > 5 else ''
        print(f'left out, since they cannot be read: {", ".join(broken[:5])}{more}', flush=True)
    if not names:
        raise UnusableInputError(f'None of the {len(files)} images in {images} can be read.')
    array = torch.cat(features).numpy()
    if out is not None:
        with written_whole(Path(out) / NAMES) as partial:
            partial.write_bytes(b''.join(os.fsencode(f'{name}\n') for name in names))
        with written_whole(Path(out) / FEATURES) as partial, partial.open('wb') as file:
            np.save(file, array)
    return array, names


@torch.no_grad()
def _average(student: NormalizedStudent, pixels: Tensor) -> Tensor:
    return student.features(pixels.float() / 255).cpu()
