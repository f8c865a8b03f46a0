import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_rank
from mmpretrain.registry import MODELS
from torch import Tensor

from .base import BaseDistillLoss, check_batch, check_positive


@MODELS.register_module()
class InfoNCELoss(BaseDistillLoss):
    """Tell the teacher feature of the same image from those of the other images (van den Oord et al., 2018, eq. 4).

    The score is the cosine similarity of the pooled features over a temperature. The other images are those of the
    batches of all processes, which must be equally large (the sampler's ``round_up=True``, MMEngine's default).

    Args:
        temperature: Temperature of the scores, positive.
        loss_weight: Weight of the loss.

    Raises:
        ValueError: When the batches of all processes hold a single image.
    """

    pooled = True

    def __init__(self, temperature: float = 0.1, loss_weight: float = 1.0):
        super().__init__(loss_weight)
        check_positive(temperature=temperature)
        self.temperature = temperature

    def compare(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        student, teacher = F.normalize(student_feature, dim=1), F.normalize(teacher_feature, dim=1)
        candidates = torch.cat(all_gather(teacher))
        check_batch(self, len(candidates), 2)
        positives = get_rank() * len(student) + torch.arange(len(student), device=student.device)
        return F.cross_entropy(student @ candidates.T / self.temperature, positives)
