"""A task head says how much the teacher's features tell of the task: minus its loss is the policy's reward."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...datasets.samples import Samples, collect, has
from ...errors import UnusableInputError


class BaseTaskHead(nn.Module):
    """Base of all task heads.

    Args:
        loss_weight: Weight of the head's own loss; the reward does not depend on it.
    """

    #: Whether the head is trained by gradient descent, so that its loss is part of the model's.
    learns = True
    #: Whether the constructor takes ``in_channels``, the channels of the teacher's features summed over the layers.
    needs_channels = True
    #: Whether the head reads whole maps, which the teacher then does not average.
    dense = False

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def views(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Further images whose features ``loss`` needs, at the timesteps of the batch's images.

        Returns:
            list: Images ``(M, 3, H, W)`` in [-1, 1], M at most N, for the timesteps of the batch's first M; and which
            image of the batch each shows, ``(M,)``.
        """
        return []

    def loss(
        self,
        features: Sequence[Tensor],
        data_samples: Samples,
        views: Sequence[Sequence[Tensor]] = (),
    ) -> Tensor:
        """Loss of each image, not weighted.

        Args:
            features: Teacher features ``(N, C, h, w)``, one a layer.
            data_samples: The images' annotations.
            views: The features of each of ``views``, as ``features``.

        Returns:
            Tensor: ``(N,)``, or of the first images alone.
        """
        raise NotImplementedError

    def predict(self, features: Sequence[Tensor], data_samples: Samples | None) -> list[DataSample]:
        """Predictions from the teacher's features, put into the data samples (made where there are none)."""
        raise UnusableInputError(f'{type(self).__name__} predicts nothing: remove val and test from the config.')


def check_annotation(key: str, data_samples: Samples, head: nn.Module, what: str, advice: str) -> None:
    """Refuse data samples that lack what a head learns from.

    Raises:
        ValueError: When one has no ``key``.
    """
    if not has(data_samples, key):
        raise UnusableInputError(
            f'{type(head).__name__} needs {what} of every image, and the data set gives no {key}. {advice}'
        )


def pool(features: Sequence[Tensor]) -> Tensor:
    """Global averages ``(N, C)`` of feature maps, the layers' channels side by side."""
    return torch.cat([feature.mean((2, 3)) for feature in features], 1)


def class_targets(data_samples: Samples, head: nn.Module, device: torch.device) -> Tensor:
    """The share ``(N, num_classes)`` that each of the head's classes has in each image, 0 or 1 but for mixed images.

    Mixup and CutMix leave the label as it was, and write the shares as ``gt_score``.
    """
    if has(data_samples, 'gt_score'):
        return torch.stack([sample.gt_score for sample in data_samples]).to(device)
    check_annotation('gt_label', data_samples, head, 'the class', 'Without labels use ViewAgreementHead.')
    labels = collect(data_samples, 'gt_label').to(device)
    return F.one_hot(labels, head.num_classes).float()


def set_class_scores(scores: Tensor, data_samples: Samples | None) -> list[DataSample]:
    """Put scores ``(N, num_classes)`` and the best class into the data samples (made where there are none)."""
    data_samples = list(data_samples or [DataSample() for _ in scores])
    for sample, score in zip(data_samples, scores, strict=True):
        sample.set_pred_score(score).set_pred_label(score.argmax())
    return data_samples
