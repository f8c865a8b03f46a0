from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from ...datasets.samples import Samples
from .base import BaseTaskHead, class_targets, pool, set_class_scores


@MODELS.register_module()
class LeastSquaresHead(BaseTaskHead):
    """Ridge regression of the one-hot class on the teacher's globally pooled features, in closed form.

    Its loss is an image's squared residual, the alternative reward of the published code. There the regression is
    solved on the batch that it judges, whose residual says nothing once there are more channels than images; here it
    is solved on running sums over the batches before, of all processes.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the teacher features, summed over the layers.
        ridge: Penalty on the weights, as a share of the features' mean variance.
        momentum: Share of the newest batch in the running sums.
    """

    learns = False

    def __init__(self, num_classes: int, in_channels: int, ridge: float = 0.01, momentum: float = 0.02):
        super().__init__()
        self.num_classes = num_classes
        self.ridge = ridge
        self.momentum = momentum
        size = in_channels + 1  # the last is the constant 1
        self.register_buffer('gram', torch.zeros(size, size))
        self.register_buffer('cross', torch.zeros(size, num_classes))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Regressed one-hot classes ``(N, num_classes)`` from teacher features ``(N, C, h, w)``, one a layer."""
        return self._regress(self._inputs(features))

    @torch.no_grad()
    def loss(self, features: Sequence[Tensor], data_samples: Samples, views: Sequence[Sequence[Tensor]] = ()) -> Tensor:
        target = class_targets(data_samples, self, features[0].device)
        x = self._inputs(features)
        with torch.autocast(x.device.type, enabled=False):  # whose products are too coarse to be inverted
            residual = (target - self._regress(x)).square().sum(1)
            if self.training:
                self._update(x, target)
        return residual

    def predict(self, features: Sequence[Tensor], data_samples: Samples | None) -> list[DataSample]:
        return set_class_scores(self(features), data_samples)

    def _inputs(self, features: Sequence[Tensor]) -> Tensor:
        return F.pad(pool(features).float(), (0, 1), value=1.0)  # (N, C + 1)

    def _regress(self, x: Tensor) -> Tensor:
        # float64, which Apple's GPUs do not have: features that nearly depend on each other are inverted.
        precise = torch.float32 if x.device.type == 'mps' else torch.float64
        gram = self.gram.to(precise)
        penalty = self.ridge * gram.diagonal().mean() + 1e-12
        identity = torch.eye(len(gram), dtype=precise, device=gram.device)
        return x @ torch.linalg.solve(gram + penalty * identity, self.cross.to(precise)).float()

    def _update(self, x: Tensor, target: Tensor) -> None:
        for running, batch in ((self.gram, x.T @ x), (self.cross, x.T @ target)):
            all_reduce(batch)
            running.mul_(1 - self.momentum).add_(batch)
