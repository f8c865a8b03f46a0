"""Augmentations that treat a whole batch at once, on its device, each image by draws of its own.

torchvision's transforms draw once for a batch. They are functions of the images and of ``draw``, so that who gives the
draws can give the same ones again.
"""

import math

import torch
import torch.nn.functional as F
from mmpretrain.registry import BATCH_AUGMENTS
from torch import Tensor

from .draws import Draw


@BATCH_AUGMENTS.register_module()
class BatchCrop:
    """A crop of each image's own size, out of the image with a border.

    Args:
        padding: Pixels of the border, black, on every side.
    """

    def __init__(self, padding: int):
        self.padding = padding

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """Crop ``images (N, C, H, W)``."""
        _, channels, height, width = images.shape
        images = F.pad(images, [self.padding] * 4)
        first = (draw(2) * (2 * self.padding + 1)).long()[..., None]
        rows = first[0] + torch.arange(height, device=images.device)
        columns = first[1] + torch.arange(width, device=images.device)
        images = images.gather(2, rows[:, None, :, None].expand(-1, channels, -1, images.shape[3]))
        return images.gather(3, columns[:, None, None].expand(-1, channels, height, -1))


@BATCH_AUGMENTS.register_module()
class BatchFlip:
    """Mirror some of the images, left and right.

    Args:
        prob: Probability of each.
    """

    def __init__(self, prob: float = 0.5):
        self.prob = prob

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """Mirror some of ``images (N, C, H, W)``."""
        mirrored = draw(1)[0] < self.prob
        return torch.where(mirrored[:, None, None, None], images.flip(3), images)


@BATCH_AUGMENTS.register_module()
class BatchResizedCrop:
    """A part of each image, resized ("Going deeper with convolutions", Szegedy et al., CVPR 2015, section 6).

    Args:
        scale: Shares of the image's area, drawn evenly between the two.
        ratio: Width by height, drawn evenly on a logarithmic scale; cut where the part would not fit.
        size: Side of the result in pixels; None for the image's own.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        size: int | None = None,
    ):
        self.scale = scale
        self.ratio = ratio
        self.size = size

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """Crop and resize ``images (N, C, H, W)``; the result is float32."""
        count, channels, height, width = images.shape
        draws = draw(4)
        area = self.scale[0] + (self.scale[1] - self.scale[0]) * draws[0]
        low, high = (math.log(ratio) for ratio in self.ratio)
        stretch = (0.5 * (low + (high - low) * draws[1])).exp()
        sides = torch.stack([area.sqrt() * stretch, area.sqrt() / stretch]).clamp(max=1)  # shares of width and height
        # affine_grid's coordinates span [-1, 1].
        shift = (1 - sides) * (2 * draws[2:] - 1)
        zero = torch.zeros_like(area)
        rows = [torch.stack(row, 1) for row in ((sides[0], zero, shift[0]), (zero, sides[1], shift[1]))]
        shape = [count, channels, self.size or height, self.size or width]
        grid = F.affine_grid(torch.stack(rows, 1), shape, align_corners=False)
        return F.grid_sample(images.float(), grid, padding_mode='border', align_corners=False)


@BATCH_AUGMENTS.register_module()
class BatchColorJitter:
    """Change brightness, contrast and saturation of each image by factors in [1 - x, 1 + x].

    Args:
        brightness: x of the brightness.
        contrast: x of the contrast, about the image's mean grey.
        saturation: x of the saturation.
        prob: Probability that an image is changed at all.
    """

    def __init__(self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, prob: float = 1.0):
        self.limits = (brightness, contrast, saturation)
        self.prob = prob

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """Change ``images (N, 3, H, W)`` in [0, 255]; the result is float32."""
        *draws, chosen = draw(4)[..., None, None, None]
        brightness, contrast, saturation = (
            1 + limit * (2 * draw - 1) for limit, draw in zip(self.limits, draws, strict=True)
        )
        original = images = images.float()
        images = images * brightness
        grey = images.mean(1, keepdim=True)
        images = (images - grey) * saturation + grey
        mean = images.mean((1, 2, 3), keepdim=True)
        return torch.where(chosen < self.prob, ((images - mean) * contrast + mean).clamp(0, 255), original)


@BATCH_AUGMENTS.register_module()
class BatchGrey:
    """Take the colour out of some of the images.

    Args:
        prob: Probability of each.
    """

    def __init__(self, prob: float = 0.2):
        self.prob = prob

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """Take the colour out of some of ``images (N, 3, H, W)``; the result is float32."""
        grey = draw(1)[0] < self.prob
        images = images.float()
        return torch.where(grey[:, None, None, None], images.mean(1, keepdim=True), images)
