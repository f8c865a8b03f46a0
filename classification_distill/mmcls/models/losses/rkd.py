import math

import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor

from .base import BaseDistillLoss, check_batch


@MODELS.register_module()
class RKDLoss(BaseDistillLoss):
    """Relational knowledge distillation on pooled features (Park et al., CVPR 2019, sections 3.2.1 and 3.2.2).

    Compares, by the Huber loss with delta 1, the distances between the images of a batch, divided by their mean, and
    the cosines of the angles that every two images form as seen from a third. Both are averaged over all N^2 pairs and
    N^3 triplets, those of an image with itself included, as in the authors' code, to which the weights belong. Two
    features that coincide form no angle.

    Memory grows with ``N^2 * C`` and ``N^3``. Relations are those within the batch of one process.

    Args:
        distance_weight: Weight of the distances.
        angle_weight: Weight of the angles.
        loss_weight: Weight of the sum.

    Raises:
        ValueError: When a batch holds fewer than 3 images: two have neither an angle nor a distance to compare theirs
            with.
    """

    pooled = True
    connector = 'ResizeConnector'

    def __init__(self, distance_weight: float = 25.0, angle_weight: float = 50.0, loss_weight: float = 1.0):
        super().__init__(loss_weight)
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def compare(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        check_batch(self, len(student_feature), 3)
        student_distances, student_angles = relations(student_feature)
        teacher_distances, teacher_angles = relations(teacher_feature)
        distance_loss = F.smooth_l1_loss(student_distances, teacher_distances)
        angle_loss = F.smooth_l1_loss(student_angles, teacher_angles)
        return self.distance_weight * distance_loss + self.angle_weight * angle_loss


def relations(feature: Tensor) -> tuple[Tensor, Tensor]:
    """Distances ``(N, N)``, of mean 1 between different images, and cosines ``(N, N, N)`` of ``feature (N, C)``.

    ``cosines[i, j, k]`` is that of the angle at i between j and k.
    """
    offsets = feature[None] - feature[:, None]  # (N, N, C): from i to j
    lengths = offsets.norm(dim=2)
    mean = lengths.sum() / (len(feature) * (len(feature) - 1))
    # The gradient of a direction is 1 / length. Below rounding the direction means nothing: infinity makes both 0.
    tiny = lengths <= 1e-6 * mean
    directions = offsets / lengths.masked_fill(tiny, math.inf)[..., None]
    return lengths / mean.clamp(min=1e-12), directions @ directions.transpose(1, 2)
