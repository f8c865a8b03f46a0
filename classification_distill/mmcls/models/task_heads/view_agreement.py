from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor

from ...datasets.samples import Samples
from ...errors import UnusableInputError
from ..losses.base import check_batch
from .base import BaseTaskHead, pool


@MODELS.register_module()
class ViewAgreementHead(BaseTaskHead):
    r"""How well the teacher's features tell an image from others, whatever its augmentation; no labels are needed.

    With a the feature of an image, b that of an augmented view of it and c that of an augmented view of another image,
    all at the image's timestep, its loss is log(1 + \|a - b\|^2 / \|a - c\|^2): 0 where views agree perfectly, log 2
    where they are as far apart as two images are. The same timestep for all three matters: features vary more with the
    timestep than with the image, and those of other images at their own timesteps would be told apart by that alone.

    Takes two further passes of the teacher; with ``share=0.25`` of a quarter of the batch.

    Args:
        flip: Whether a view may be mirrored.
        max_shift: Largest shift of a view, as a share of the image's side.
        max_scale: Largest zoom of a view, in or out, as a share of 1.
        max_contrast: Largest change of a view's contrast and brightness, as a share of their range.
        share: Share of a batch, in (0, 1], that is looked at; the other images have no reward. At least two are.

    Raises:
        ValueError: When ``share`` is not in (0, 1].
    """

    learns = False
    needs_channels = False

    def __init__(
        self,
        flip: bool = True,
        max_shift: float = 0.1,
        max_scale: float = 0.15,
        max_contrast: float = 0.2,
        share: float = 1.0,
    ):
        super().__init__()
        if not 0 < share <= 1:
            raise UnusableInputError(f'share={share}: expected a share of the batch, greater than 0 and at most 1.')
        self.flip = flip
        self.max_shift = max_shift
        self.max_scale = max_scale
        self.max_contrast = max_contrast
        self.share = share

    def views(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """An augmented view of each image that is looked at, the batch's first, and of the one after it.

        Raises:
            ValueError: When there is a single image.
        """
        check_batch(self, len(images), 2)
        with torch.autocast(images.device.type, enabled=False):  # under which the grids would be rounded
            shown = torch.arange(max(2, round(self.share * len(images))), device=images.device)
            return [(self._augment(images[rows]), rows) for rows in (shown, shown.roll(-1))]

    def loss(self, features: Sequence[Tensor], data_samples: Samples, views: Sequence[Sequence[Tensor]] = ()) -> Tensor:
        view, other = map(pool, views)
        feature = pool(features)[: len(view)]
        within = (feature - view).square().sum(1)
        between = (feature - other).square().sum(1)
        return torch.log1p(within / between.clamp(min=1e-12))

    def _augment(self, images: Tensor) -> Tensor:
        def draw(limit: float) -> Tensor:
            return limit * (2 * torch.rand(len(images), device=images.device) - 1)

        zoom = 1 + draw(self.max_scale)
        mirror = torch.where(draw(1.0) < 0, -1.0, 1.0) if self.flip else torch.ones_like(zoom)
        zero = torch.zeros_like(zoom)
        shift_x, shift_y = 2 * draw(self.max_shift), 2 * draw(self.max_shift)  # the grid spans [-1, 1]
        rows = [torch.stack(row, 1) for row in ((zoom * mirror, zero, shift_x), (zero, zoom, shift_y))]
        grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
        views = F.grid_sample(images, grid, padding_mode='reflection', align_corners=False)
        contrast, brightness = (draw(self.max_contrast)[:, None, None, None] for _ in range(2))
        return (views * (1 + contrast) + brightness).clamp(-1, 1)
