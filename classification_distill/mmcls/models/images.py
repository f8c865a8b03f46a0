"""From the student's normalised input to what a teacher expects."""

import torch
from torch import Tensor, nn


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
        raise ValueError(
            f'The images reach the diffusion model in [{low:.4f}, {high:.4f}], expected [-1, 1]. Let the pipeline load '
            'images as pixels from 0 to 255 and leave the normalisation (mean, std, in pixels) to data_preprocessor '
            'alone, so that it can be undone.'
        )
