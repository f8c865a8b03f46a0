import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class HintLoss(nn.Module):
    """Mean squared error between student and teacher features (FitNets, Romero et al., ICLR 2015, eq. 3).

    Args:
        loss_weight: Weight of the loss.
        pooled: Compare the features' global averages, as RepFusion does for classification, instead of whole maps.
    """

    def __init__(self, loss_weight: float = 1.0, pooled: bool = True):
        super().__init__()
        self.loss_weight = loss_weight
        self.pooled = pooled

    def forward(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        """Compare two features ``(N, C, h, w)`` of one shape; where ``pooled``, the sizes may differ."""
        if self.pooled:
            student_feature, teacher_feature = student_feature.mean((2, 3)), teacher_feature.mean((2, 3))
        return self.loss_weight * F.mse_loss(student_feature, teacher_feature)
