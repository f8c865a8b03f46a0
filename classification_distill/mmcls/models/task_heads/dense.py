"""Task heads for dense tasks, which read the teacher's maps and not their averages."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.structures import BaseDataElement
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .base import BaseTaskHead, check_annotation


class DenseHead(BaseTaskHead):
    """A 1x1 convolution on the teacher's maps, which are brought to the size of the largest.

    Args:
        out_channels: Channels of the prediction.
        in_channels: Channels of the teacher features, summed over the layers.
        initial_loss: Loss of an image of which nothing is known.
        loss_weight: Weight of the head's own loss; the reward does not depend on it.
    """

    dense = True

    def __init__(self, out_channels: int, in_channels: int, initial_loss: float, loss_weight: float = 1.0):
        super().__init__(loss_weight)
        self.conv = nn.Conv2d(in_channels, out_channels, 1)
        self.register_buffer('typical_loss', torch.tensor(initial_loss))

    def fill_unlabelled(self, loss: Tensor, is_labelled: Tensor) -> Tensor:
        """Give images without any annotation the mean loss ``(N,)`` of the others, or of the last batch that had one.

        The others are those of all processes. Their own, 0, would be the highest reward there is.
        """
        total, count = (loss.detach() * is_labelled).sum(), is_labelled.sum()
        if self.training:
            all_reduce(total)
            all_reduce(count)
        mean = total / count.clamp(min=1)
        typical = torch.where(count > 0, mean, self.typical_loss)
        if self.training:
            self.typical_loss.copy_(typical)
        return torch.where(is_labelled, loss, typical)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Prediction ``(N, out_channels, *size)`` from teacher features ``(N, C, h, w)``, one a layer."""
        largest = max((tuple(feature.shape[2:]) for feature in features), key=lambda shape: shape[0])
        maps = torch.cat([_resize(feature, largest) for feature in features], 1)
        return _resize(self.conv(maps).float(), size)


@MODELS.register_module()
class DenseSegHead(DenseHead):
    """Linear semantic segmentation by the teacher's features, so that timesteps are chosen for parsing.

    Its loss is an image's mean cross-entropy over its labelled pixels, at the resolution of the label map.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the teacher features, summed over the layers.
        ignore_index: Value of pixels without a label.
        loss_weight: Weight of the head's own loss; the reward does not depend on it.
    """

    def __init__(self, num_classes: int, in_channels: int, ignore_index: int = 255, loss_weight: float = 1.0):
        super().__init__(num_classes, in_channels, math.log(num_classes), loss_weight)
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def loss(
        self, features: Sequence[Tensor], data_samples: list[BaseDataElement], views: Sequence[Sequence[Tensor]] = ()
    ) -> Tensor:
        check_annotation('gt_sem_seg', data_samples, self, 'a label map', 'End its pipeline with mmseg.PackSegInputs.')
        maps = [sample.gt_sem_seg.data for sample in data_samples]  # (1, H, W) each
        target = torch.cat(maps).to(features[0].device, torch.int64)
        logits = self(features, tuple(target.shape[1:]))
        pixels = F.cross_entropy(logits, target, reduction='none', ignore_index=self.ignore_index)
        labelled = (target != self.ignore_index).flatten(1).sum(1)
        return self.fill_unlabelled(pixels.flatten(1).sum(1) / labelled.clamp(min=1), labelled > 0)


@MODELS.register_module()
class HeatmapHead(DenseHead):
    """Linear regression of landmark heat maps by the teacher's features, so that timesteps are chosen for landmarks.

    Its loss is an image's squared error over the heat maps of its visible points, divided by what predicting zeros
    would cost: 1 where nothing is known.

    Args:
        num_keypoints: Number of landmarks.
        in_channels: Channels of the teacher features, summed over the layers.
        loss_weight: Weight of the head's own loss; the reward does not depend on it.
    """

    def __init__(self, num_keypoints: int, in_channels: int, loss_weight: float = 1.0):
        super().__init__(num_keypoints, in_channels, 1.0, loss_weight)
        # Random predictions would cost some fifty times as much as zeros, and the policy would settle where they are
        # weakest before the layer has learned anything.
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def loss(
        self, features: Sequence[Tensor], data_samples: list[BaseDataElement], views: Sequence[Sequence[Tensor]] = ()
    ) -> Tensor:
        advice = 'End its pipeline with mmpose.GenerateTarget and mmpose.PackPoseInputs.'
        check_annotation('gt_fields', data_samples, self, 'heat maps', advice)
        device = features[0].device
        target = torch.stack([sample.gt_fields.heatmaps for sample in data_samples]).to(device)  # (N, K, H, W)
        weights = torch.cat([sample.gt_instance_labels.keypoint_weights for sample in data_samples]).to(device)
        weights = weights[..., None, None]  # (N, K, 1, 1)
        squared_error = (weights * (self(features, tuple(target.shape[2:])) - target).square()).sum((1, 2, 3))
        of_zeros = (weights * target.square()).sum((1, 2, 3))
        return self.fill_unlabelled(squared_error / of_zeros.clamp(min=1e-6), of_zeros > 1e-6)


def _resize(feature: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(feature.shape[2:]) == size:
        return feature
    return F.interpolate(feature, size, mode='bilinear', align_corners=False)
