from collections.abc import Sequence

import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...datasets.samples import Samples
from .base import BaseTaskHead, class_targets, pool, set_class_scores


@MODELS.register_module()
class PooledMLPHead(BaseTaskHead):
    """A three-layer perceptron that classifies images by the teacher's globally pooled features.

    Its loss is the cross-entropy, the published reward.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the teacher features, summed over the layers.
        hidden_channels: Width of the two hidden layers.
        loss_weight: Weight of the head's own loss; the reward does not depend on it.
    """

    def __init__(self, num_classes: int, in_channels: int, hidden_channels: int = 256, loss_weight: float = 1.0):
        super().__init__(loss_weight)
        self.num_classes = num_classes
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, hidden_channels),
            nn.ReLU(),
            nn.Linear(hidden_channels, hidden_channels),
            nn.ReLU(),
            nn.Linear(hidden_channels, num_classes),
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Class logits ``(N, num_classes)`` from teacher features ``(N, C, h, w)``, one a layer."""
        return self.mlp(pool(features))

    def loss(self, features: Sequence[Tensor], data_samples: Samples, views: Sequence[Sequence[Tensor]] = ()) -> Tensor:
        target = class_targets(data_samples, self, features[0].device)
        return F.cross_entropy(self(features).float(), target, reduction='none')

    def predict(self, features: Sequence[Tensor], data_samples: Samples | None) -> list[DataSample]:
        return set_class_scores(self(features).float().softmax(1), data_samples)
