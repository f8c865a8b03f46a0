import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor

from ...errors import UnusableInputError
from .base import BaseDistillLoss


def cosine_distance(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """1 - cosine similarity over the channels, dimension 1, averaged over images and positions."""
    return 1 - F.cosine_similarity(student_feature, teacher_feature, dim=1).mean()


DISTANCES = {'l2': F.mse_loss, 'l1': F.l1_loss, 'smooth_l1': F.smooth_l1_loss, 'cosine': cosine_distance}


@MODELS.register_module()
class HintLoss(BaseDistillLoss):
    """Distance between student and teacher features (FitNets, Romero et al., ICLR 2015, eq. 3).

    Args:
        loss_weight: Weight of the loss.
        pooled: Compare the features' global averages, as RepFusion does for classification, instead of whole maps.
        norm: Distance, averaged over all elements: ``'l2'`` (squared error, as published), ``'l1'``, ``'smooth_l1'``
            (Huber, delta 1); or ``'cosine'``, 1 - cosine similarity over the channels, averaged over the positions.

    Raises:
        ValueError: When ``norm`` is none of these.
    """

    def __init__(self, loss_weight: float = 1.0, pooled: bool = True, norm: str = 'l2'):
        super().__init__(loss_weight)
        if norm not in DISTANCES:
            raise UnusableInputError(f'norm={norm!r}: expected one of {list(DISTANCES)}.')
        self.pooled = pooled
        self.distance = DISTANCES[norm]

    def compare(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        return self.distance(student_feature, teacher_feature)
