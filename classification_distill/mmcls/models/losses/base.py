"""A distillation loss compares a student feature with a teacher feature."""

import torch
from torch import Tensor, nn

from ...errors import UnusableInputError


class BaseDistillLoss(nn.Module):
    """Base of all distillation losses, which implement ``compare``; one object is built for each teacher feature.

    Args:
        loss_weight: Weight of the loss.
    """

    #: What is compared: ``'features'`` or ``'logits'``.
    compares = 'features'
    #: Whether global averages are compared; where nothing else needs maps, the teacher gives averages.
    pooled = False
    #: Type of the connector where the config names none.
    connector = 'ConvConnector'
    #: Whether the constructor takes ``student_channels`` and ``teacher_channels``.
    needs_channels = False
    #: Whether ``forward`` takes ``indices``, each image's place in the data set (MMPretrain's ``sample_idx``).
    needs_indices = False

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, student_feature: Tensor, teacher_feature: Tensor, *indices: Tensor) -> Tensor:
        """Weighted loss of a batch, a scalar, computed in float32 or better even under autocast.

        Args:
            student_feature: ``(N, C, h, w)``; ``(N, C)`` where logits are compared.
            teacher_feature: Likewise. The connector gives the student's its height and width, and its channels unless
                the loss compares relations or projects both.
            indices: ``(N,)``, int64; only where ``needs_indices``.
        """
        student_feature, teacher_feature = (
            feature.to(torch.promote_types(feature.dtype, torch.float32))
            for feature in (student_feature, teacher_feature)
        )
        if self.pooled:
            student_feature, teacher_feature = student_feature.mean((2, 3)), teacher_feature.mean((2, 3))
        with torch.autocast(student_feature.device.type, enabled=False):
            return self.loss_weight * self.compare(student_feature, teacher_feature, *indices)

    def compare(self, student_feature: Tensor, teacher_feature: Tensor, *indices: Tensor) -> Tensor:
        """Loss of a batch, not weighted; features are ``(N, C)`` where ``pooled``."""
        raise NotImplementedError


def check_batch(part: nn.Module, num_images: int, minimum: int) -> None:
    """Refuse a batch of too few images for a loss or a task head that compares them with each other."""
    if num_images < minimum:
        raise UnusableInputError(
            f'{type(part).__name__} compares the images of a batch with each other and needs at least {minimum}, '
            f'got {num_images}: raise batch_size in train_dataloader or, if this is the smaller last batch of an '
            'epoch, set drop_last=True there.'
        )


def check_positive(**settings: float) -> None:
    """Refuse settings that are not positive."""
    for name, value in settings.items():
        if value <= 0:
            raise UnusableInputError(f'{name}={value}: expected a positive number.')
