"""From a student's normalised input, or from ordinary images, to what a teacher expects."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..errors import UnusableInputError

Images = Image.Image | np.ndarray | Tensor | Sequence[Image.Image | np.ndarray | Tensor]


def to_pixels(inputs: Tensor, data_preprocessor: nn.Module) -> Tensor:
    """Undo a data preprocessor's normalisation.

    Args:
        inputs: Images ``(N, 3, H, W)`` as ``data_preprocessor`` returned them.
        data_preprocessor: Its ``mean`` and ``std`` (in pixels, 0 to 255) are undone; without them the images are
            taken as pixels.

    Returns:
        Tensor: float32 images ``(N, 3, H, W)`` in [0, 255].
    """
    pixels = inputs.float()
    if getattr(data_preprocessor, '_enable_normalize', False):
        pixels = pixels * data_preprocessor.std + data_preprocessor.mean
    return pixels


def normalize(pixels: Tensor, data_preprocessor: nn.Module) -> Tensor:
    """Pixels ``(N, 3, H, W)`` in [0, 255] with a data preprocessor's mean and std: undoes ``to_pixels``."""
    if getattr(data_preprocessor, '_enable_normalize', False):
        pixels = (pixels - data_preprocessor.mean) / data_preprocessor.std
    return pixels


def as_batch(images: Images, size: tuple[int, int] | None = None) -> Tensor:
    """Ordinary images as one batch.

    Args:
        images: One image or several: PIL images, arrays ``(H, W, 3)`` or ``(H, W)``, or tensors ``(3, H, W)``; or a
            batch ``(N, H, W, 3)`` of an array, ``(N, 3, H, W)`` of a tensor. RGB, as uint8 or as floats in [0, 1].
        size: Height and width to resize each to; None for images that are of one size.

    Returns:
        Tensor: ``(N, 3, H, W)``, float32 in [0, 1].

    Raises:
        UnusableInputError: For another shape, or values outside of [0, 1].

    Examples:
        >>> as_batch(Image.open('face.jpg'), (256, 256)).shape
        torch.Size([1, 3, 256, 256])
    """
    if isinstance(images, Image.Image) or (not isinstance(images, Sequence) and images.ndim < 4):
        images = [images]
    batch = []
    for image in images:
        pixels = _as_tensor(image)
        if size is not None and pixels.shape[-2:] != torch.Size(size):
            pixels = F.interpolate(pixels[None], size, mode='bilinear', antialias=True, align_corners=False)[0]
        batch.append(pixels)
    if not batch:
        raise UnusableInputError('There is no image.')
    if len({pixels.shape for pixels in batch}) > 1:
        raise UnusableInputError(f'The images are of several sizes, {[tuple(p.shape[1:]) for p in batch[:5]]}.')
    return torch.stack(batch)


def _as_tensor(image: Image.Image | np.ndarray | Tensor) -> Tensor:
    """One image as ``(3, H, W)``, float32 in [0, 1]."""
    if isinstance(image, Image.Image):
        image = np.array(image.convert('RGB'))
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(np.array(image))
        image = image[None] if image.ndim == 2 else image.movedim(-1, 0)
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise UnusableInputError(
            f'An image has shape {tuple(image.shape)}: expected (3, H, W) of a tensor or (H, W, 3) of an array.'
        )
    pixels = image.float() / 255 if image.dtype == torch.uint8 else image.float()
    if pixels.min() < -1e-3 or pixels.max() > 1 + 1e-3:
        raise UnusableInputError(
            f'An image of {image.dtype} has values in [{pixels.min():.4g}, {pixels.max():.4g}]: expected uint8, or '
            'floats in [0, 1].'
        )
    return pixels.clamp(0, 1).expand(3, -1, -1)


def to_diffusion_range(inputs: Tensor, data_preprocessor: nn.Module) -> Tensor:
    """As ``to_pixels``, with the pixels scaled to [-1, 1]."""
    return to_pixels(inputs, data_preprocessor) / 127.5 - 1


def check_diffusion_range(images: Tensor) -> None:
    """Refuse images that cannot be pixels scaled to [-1, 1].

    Raises:
        ValueError: When a value lies outside [-1, 1], or all of them lie in one 255th of it (pixels in [0, 1]).
    """
    low, high = (v.item() for v in torch.aminmax(images.detach()))
    scaled_twice = low > -1.01 and high < -1 + 1 / 127.5 + 1e-4 and high > low
    if low < -1.01 or high > 1.01 or scaled_twice:
        raise UnusableInputError(
            f'The images reach the diffusion model in [{low:.4f}, {high:.4f}], expected [-1, 1]. Let the pipeline load '
            'images as pixels from 0 to 255 and leave the normalisation (mean, std, in pixels) to data_preprocessor '
            'alone, so that it can be undone.'
        )
