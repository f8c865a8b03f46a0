import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor

from .base import BaseDistillLoss, check_positive


@MODELS.register_module()
class LogitKDLoss(BaseDistillLoss):
    """``T^2 * KL(teacher || student)`` of class probabilities softened by T, the mean of the batch.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2; the factor keeps the gradient's
    scale whatever the temperature.

    Args:
        temperature: T, positive; the higher, the more the improbable classes count.
        loss_weight: Weight of the loss.
    """

    compares = 'logits'
    connector = 'ResizeConnector'

    def __init__(self, temperature: float = 4.0, loss_weight: float = 1.0):
        super().__init__(loss_weight)
        check_positive(temperature=temperature)
        self.temperature = temperature

    def compare(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        student, teacher = (F.log_softmax(f / self.temperature, dim=1) for f in (student_feature, teacher_feature))
        return self.temperature**2 * F.kl_div(student, teacher, reduction='batchmean', log_target=True)
