from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn


@MODELS.register_module()
class PooledMLPHead(nn.Module):
    """A three-layer perceptron that classifies images by the teacher's globally pooled features.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the teacher features, summed over the layers.
        hidden_channels: Width of the two hidden layers.
        loss_weight: Weight of the head's own loss; the reward does not depend on it.
    """

    def __init__(self, num_classes: int, in_channels: int, hidden_channels: int = 256, loss_weight: float = 1.0):
        super().__init__()
        self.num_classes = num_classes
        self.loss_weight = loss_weight
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, hidden_channels),
            nn.ReLU(),
            nn.Linear(hidden_channels, hidden_channels),
            nn.ReLU(),
            nn.Linear(hidden_channels, num_classes),
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Class logits ``(N, num_classes)`` from teacher features ``(N, C, h, w)``, one a layer."""
        return self.mlp(torch.cat([feature.mean((2, 3)) for feature in features], 1))

    def loss(self, features: Sequence[Tensor], data_samples: list[DataSample]) -> Tensor:
        """Cross-entropy of each image, ``(N,)``, not weighted."""
        if any('gt_label' not in sample for sample in data_samples):
            raise ValueError('PooledMLPHead needs the class of every image: the data set gives no gt_label.')
        target = torch.cat([sample.gt_label for sample in data_samples]).to(features[0].device)
        return F.cross_entropy(self(features).float(), target, reduction='none')

    def predict(self, features: Sequence[Tensor], data_samples: list[DataSample] | None) -> list[DataSample]:
        """Class probabilities, put into the data samples (made where there are none)."""
        scores = self(features).float().softmax(1)
        data_samples = data_samples or [DataSample() for _ in scores]
        for sample, score in zip(data_samples, scores, strict=True):
            sample.set_pred_score(score).set_pred_label(score.argmax())
        return data_samples
