import math

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, broadcast
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...errors import UnusableInputError
from .base import BaseDistillLoss, check_positive


@MODELS.register_module()
class CRDLoss(BaseDistillLoss):
    """Contrastive representation distillation (Tian et al., ICLR 2020, section 3.1).

    A critic learns to tell the student's and the teacher's feature of one image from features of two images:
    ``h = e^s / (e^s + Z * m / n)`` for a score s, m negatives and n images, and the loss is
    ``-log h(positive) - sum log(1 - h(negative))``, once with the student's embedding against the bank of teacher
    embeddings and once the other way round. Both embeddings are linear, of L2 norm 1 and trained; s is their inner
    product over the temperature. The constant Z is estimated from the first batch. Negatives are drawn uniformly, with
    replacement, among all other images; no labels are needed.

    The banks hold ``2 * num_samples * embed_channels`` floats (49 MiB for CIFAR-10, 1.2 GiB for ImageNet), on the
    device and in every checkpoint. A step needs a copy of the rows that it reads and their scores,
    ``N * min(num_samples, N * num_negatives)``. All processes hold the same banks; their batches must be equally large
    (the sampler's ``round_up=True``, MMEngine's default).

    Args:
        num_samples: Number of images in the training set, n.
        student_channels: Channels of the student feature.
        teacher_channels: Channels of the teacher feature.
        embed_channels: Channels of the embeddings.
        num_negatives: Negatives for each image, m.
        temperature: Temperature of the scores, positive.
        momentum: Share, in [0, 1), of an image's old embedding in its new one in the bank.
        loss_weight: Weight of the loss.

    Raises:
        ValueError: When ``num_samples`` is less than 2, or an index lies outside the data set.
    """

    pooled = True
    connector = 'ResizeConnector'
    needs_channels = True
    needs_indices = True

    def __init__(
        self,
        num_samples: int,
        student_channels: int,
        teacher_channels: int,
        embed_channels: int = 128,
        num_negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        loss_weight: float = 0.8,
    ):
        super().__init__(loss_weight)
        if num_samples < 2:
            raise UnusableInputError(
                f'num_samples={num_samples}: expected the size of the training set, at least 2 images.'
            )
        check_positive(num_negatives=num_negatives, temperature=temperature)
        self.num_samples = num_samples
        self.num_negatives = num_negatives
        self.temperature = temperature
        self.momentum = momentum
        self.student_projection = nn.Linear(student_channels, embed_channels)
        self.teacher_projection = nn.Linear(teacher_channels, embed_channels)
        self.register_buffer('student_bank', F.normalize(torch.randn(num_samples, embed_channels)))
        self.register_buffer('teacher_bank', F.normalize(torch.randn(num_samples, embed_channels)))
        # log Z for the student's and for the teacher's embeddings; NaN until the first batch.
        self.register_buffer('log_constants', torch.full((2,), math.nan))

    def compare(self, student_feature: Tensor, teacher_feature: Tensor, indices: Tensor) -> Tensor:
        self._check_indices(indices)
        first_batch = bool(self.log_constants.isnan().any())
        if first_batch:
            # Processes may have drawn their own: as MMEngine sets it up, DistributedDataParallel shares weights alone.
            broadcast(self.student_bank)
            broadcast(self.teacher_bank)
        student = F.normalize(self.student_projection(student_feature), dim=1)
        teacher = F.normalize(self.teacher_projection(teacher_feature), dim=1)
        scores = self._score(student, teacher, self._draw(indices))
        if first_batch:
            self._estimate_constants(scores)
        self._update_banks(student, teacher, indices)
        # h is the sigmoid of these.
        logits = scores - self.log_constants[:, None, None] - math.log(self.num_negatives / self.num_samples)
        losses = F.softplus(-logits[..., 0]) + F.softplus(logits[..., 1:]).sum(2)
        return losses.sum(0).mean()

    def _draw(self, indices: Tensor) -> Tensor:
        """The image itself and then its negatives, ``(N, 1 + num_negatives)``."""
        size = len(indices), self.num_negatives
        steps = torch.randint(1, self.num_samples, size, device=indices.device)
        return torch.cat([indices[:, None], (indices[:, None] + steps) % self.num_samples], 1)

    def _score(self, student: Tensor, teacher: Tensor, candidates: Tensor) -> Tensor:
        """Scores ``(2, N, 1 + num_negatives)`` of the student's and of the teacher's embeddings."""
        # Each row once: one of each candidate would be (N, 1 + num_negatives, embed_channels), gigabytes.
        rows, columns = candidates.unique(return_inverse=True)
        pairs = (student, self.teacher_bank), (teacher, self.student_bank)
        scores = [(anchor @ bank[rows].T).gather(1, columns) for anchor, bank in pairs]
        return torch.stack(scores) / self.temperature

    @torch.no_grad()
    def _estimate_constants(self, scores: Tensor) -> None:
        """Z is n times the mean of ``e^s`` over the first batch of all processes."""
        log_mean = scores.flatten(1).logsumexp(1) - math.log(scores[0].numel())
        log_means = torch.stack(all_gather(log_mean))
        self.log_constants.copy_(log_means.logsumexp(0) + math.log(self.num_samples / len(log_means)))

    @torch.no_grad()
    def _update_banks(self, student: Tensor, teacher: Tensor, indices: Tensor) -> None:
        """Let the embeddings of all processes enter the banks."""
        student, teacher, indices = (torch.cat(all_gather(t)) for t in (student, teacher, indices))
        # A sampler that fills up its last batch repeats images: of each, the first counts, on every process.
        first = (indices[:, None] == indices).int().argmax(1)
        for bank, embedding in ((self.student_bank, student), (self.teacher_bank, teacher)):
            bank[indices] = F.normalize(bank[indices].lerp(embedding[first], 1 - self.momentum), dim=1)

    def _check_indices(self, indices: Tensor) -> None:
        low, high = (i.item() for i in indices.aminmax())
        if low < 0 or high >= self.num_samples:
            raise UnusableInputError(
                f'CRDLoss got the indices {low} to {high} and num_samples={self.num_samples}: set num_samples in '
                f'distill_loss to the size of the training set, here at least {high + 1}.'
            )
