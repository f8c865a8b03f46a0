import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ConvConnector(nn.Module):
    """A 1x1 convolution from the student's channels to the teacher's, at the teacher's resolution (FitNets).

    Resizing comes first: both are linear, and a pooled target then costs one matrix product.

    Args:
        in_channels: Channels of the student feature.
        out_channels: Channels of the teacher feature.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, student_feature: Tensor, teacher_shape: tuple[int, ...]) -> Tensor:
        """Map ``(N, in_channels, h, w)`` to ``teacher_shape``, ``(N, out_channels, h', w')``."""
        size = tuple(teacher_shape[-2:])
        if size[0] < student_feature.shape[-2]:
            student_feature = F.adaptive_avg_pool2d(student_feature, size)
        elif size != tuple(student_feature.shape[-2:]):
            student_feature = F.interpolate(student_feature, size, mode='bilinear', align_corners=False)
        return self.conv(student_feature)
