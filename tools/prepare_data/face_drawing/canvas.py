"""A picture and its label map, painted together."""

from collections.abc import Sequence

import cv2
import numpy as np
from part_masks import CLASSES

SUBPIXEL_BITS = 4
FEATURES = CLASSES.index('l_lip')  # classes up to here lie on the skin


def mix(colour, other, amount: float) -> np.ndarray:
    """``amount`` of the other colour in this one."""
    return (1 - amount) * np.asarray(colour, np.float32) + amount * np.asarray(other, np.float32)


class Canvas:
    """Regions are painted one over the other, each with its colour and its class.

    Places are in sides of the picture: (0, 0) is its upper left corner and (1, 1) its lower right one.

    Args:
        side: Pixels along a side.

    Attributes:
        image: RGB in [0, 1], shape (side, side, 3).
        labels: Class of what is on top at each pixel, shape (side, side).
        extents: Where each class was painted, seen or not, by its index.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.image = np.zeros((side, side, 3), np.float32)
        self.labels = np.zeros((side, side), np.uint8)
        self.extents: dict[int, np.ndarray] = {}

    def fill(
        self,
        outlines: np.ndarray | Sequence[np.ndarray],
        colour,
        part: str | None = None,
        opacity: float = 1.0,
        within: Sequence[str] | None = None,
        soft: float = 0.0,
    ) -> None:
        """Paint the union of polygons.

        Args:
            outlines: One polygon, shape (n, 2), or several.
            colour: RGB, shape (3,), or a texture, shape (side, side, 3).
            part: Class of what is painted; by default each pixel keeps its own.
            opacity: Of the colour; what is painted has its class all the same.
            within: Only where one of these classes is on top.
            soft: Width over which the colour fades in, in sides of the picture.
        """
        outlines = [outlines] if isinstance(outlines, np.ndarray) else list(outlines)
        pixels = [outline * self.side - 0.5 for outline in outlines]
        margin = int(2 * soft * self.side) + 2
        low = np.floor(np.min([p.min(axis=0) for p in pixels], axis=0)).astype(int) - margin
        high = np.ceil(np.max([p.max(axis=0) for p in pixels], axis=0)).astype(int) + margin
        (left, top), (right, bottom) = low.clip(0, self.side), high.clip(0, self.side)
        if left >= right or top >= bottom:
            return
        region = np.s_[top:bottom, left:right]
        mask = np.zeros((bottom - top, right - left), np.uint8)
        for outline in pixels:
            corners = np.rint((outline - [left, top]) * 2**SUBPIXEL_BITS).astype(np.int32)
            cv2.fillPoly(mask, [corners], 1, shift=SUBPIXEL_BITS)
        cover = mask.astype(np.float32) * opacity
        if soft:
            cover = cv2.GaussianBlur(cover, (0, 0), soft * self.side / 2)
        if within is not None:
            allowed = np.isin(CLASSES, within)[self.labels[region]]
            mask &= allowed
            cover *= allowed
        texture = np.asarray(colour, np.float32)
        texture = texture[region] if texture.ndim == 3 else texture
        self.image[region] += cover[..., None] * (texture - self.image[region])
        if part is not None:
            index = CLASSES.index(part)
            self.labels[region][mask > 0] = index
            extent = self.extents.setdefault(index, np.zeros_like(self.labels, bool))
            extent[region] |= mask > 0

    def line(self, points: np.ndarray, width: float, colour, opacity: float = 1.0, within=None, part=None) -> None:
        """Draw a line through points of shape (n, 2), of this width in sides of the picture; see ``fill``."""
        self.fill(_thick(points, max(width, 1.2 / self.side)), colour, part, opacity, within)

    def part_masks(self, step: int) -> dict[str, np.ndarray]:
        """The mask of each class that is seen, as annotators draw them: skin goes on below the features on it.

        Painted in the order of ``CLASSES``, each over those before it, they give ``labels``.

        Args:
            step: Only each ``step``-th pixel is taken.
        """
        labels = self.labels[step // 2 :: step, step // 2 :: step]
        masks = {}
        for index, extent in self.extents.items():
            extent = extent[step // 2 :: step, step // 2 :: step]
            mask = extent & ((labels == index) | ((labels > index) & (labels <= FEATURES)))
            if index > 0 and (labels == index).any():
                masks[CLASSES[index]] = mask
        return masks


def _thick(points: np.ndarray, width: float) -> list[np.ndarray]:
    """Quadrilaterals that together are a line, with its joints filled."""
    along = np.diff(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True).clip(1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) * (width / 2)
    start, end = points[:-1] - along * width / 4, points[1:] + along * width / 4
    return list(np.stack([start + across, end + across, end - across, start - across], axis=1))
