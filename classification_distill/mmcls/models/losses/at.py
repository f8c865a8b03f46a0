import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor

from ...errors import UnusableInputError
from .base import BaseDistillLoss


@MODELS.register_module()
class ATLoss(BaseDistillLoss):
    """Attention transfer: where features are strong (Zagoruyko and Komodakis, ICLR 2017, section 3.1, eq. 2).

    A map's attention is ``sum_c |F_c|^p`` at every position, flattened and divided by its L2 norm. The loss is the
    squared difference of the two attentions, averaged over positions and images: the convention to which the published
    weight of 1000 belongs, so that a larger map does not weigh more.

    Args:
        loss_weight: Weight of the loss, beta in the paper.
        p: Exponent, at least 1; the larger, the more the strongest positions count.

    Raises:
        ValueError: When ``p`` is less than 1, or maps of a single position, whose attention is always 1, are compared.
    """

    connector = 'ResizeConnector'

    def __init__(self, loss_weight: float = 1000.0, p: float = 2):
        super().__init__(loss_weight)
        if p < 1:
            raise UnusableInputError(f'p={p}: expected at least 1.')
        self.p = p

    def compare(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        if teacher_feature.shape[2:].numel() == 1:
            raise UnusableInputError(
                f'ATLoss compares positions of a map, got a teacher feature of shape {tuple(teacher_feature.shape)}: '
                'choose a teacher layer with a larger map, or another loss.'
            )
        return F.mse_loss(self.attention(student_feature), self.attention(teacher_feature))

    def attention(self, feature: Tensor) -> Tensor:
        """Attention ``(N, h * w)``, of L2 norm 1, of ``feature (N, C, h, w)``."""
        return F.normalize(feature.abs().pow(self.p).sum(1).flatten(1), dim=1)
