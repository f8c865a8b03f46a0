from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .resize_connector import resize


@MODELS.register_module()
class ConvConnector(nn.Module):
    """A 1x1 convolution from the student's channels to the teacher's, at the teacher's resolution (FitNets).

    Resizing comes first: both are linear, and a pooled target then costs one matrix product.

    Args:
        student_channels: Channels of the student feature.
        teacher_channels: Channels of the teacher feature.
    """

    #: Whether the constructor takes ``student_channels`` and ``teacher_channels``.
    needs_channels = True

    def __init__(self, student_channels: int, teacher_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(student_channels, teacher_channels, 1)

    def forward(self, student_feature: Tensor, teacher_shape: tuple[int, ...]) -> Tensor:
        """Map ``(N, student_channels, h, w)`` to ``teacher_shape``, ``(N, teacher_channels, h', w')``."""
        return self.conv(resize(student_feature, tuple(teacher_shape[-2:])))
