import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ResizeConnector(nn.Module):
    """The student feature at the teacher's resolution, its channels as they are: no parameters.

    For losses that compare relations, or that project both features themselves.
    """

    #: Whether the constructor takes ``student_channels`` and ``teacher_channels``.
    needs_channels = False

    def forward(self, student_feature: Tensor, teacher_shape: tuple[int, ...]) -> Tensor:
        """Resize ``(N, C, h, w)`` to the height and width of ``teacher_shape``, ``(N, C', h', w')``."""
        return resize(student_feature, tuple(teacher_shape[-2:]))


def resize(feature: Tensor, size: tuple[int, int]) -> Tensor:
    """Average a map ``(N, C, h, w)`` down to ``size``, or interpolate it bilinearly up to it, each side by itself."""
    smaller = tuple(map(min, size, feature.shape[-2:]))
    if smaller != tuple(feature.shape[-2:]):
        feature = F.adaptive_avg_pool2d(feature, smaller)
    if size != smaller:
        feature = F.interpolate(feature, size, mode='bilinear', align_corners=False)
    return feature
