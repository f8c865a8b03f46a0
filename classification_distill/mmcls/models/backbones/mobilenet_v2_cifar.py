from mmpretrain.models.backbones import MobileNetV2
from mmpretrain.registry import MODELS


@MODELS.register_module()
class MobileNetV2CIFAR(MobileNetV2):
    """MobileNetV2 (Sandler et al., CVPR 2018) for images of 32 px, whose last map is 4x4.

    The first convolution and the first down-sampling have stride 1, so the whole stride is 8 in place of 32. Weights
    are interchangeable with MMPretrain's MobileNetV2.

    Args:
        **settings: Those of MMPretrain's MobileNetV2.
    """

    # expand_ratio, channels, blocks, stride
    arch_settings = ([1, 16, 1, 1], [6, 24, 2, 1], *MobileNetV2.arch_settings[2:])

    def __init__(self, **settings):
        super().__init__(**settings)
        self.conv1.conv.stride = (1, 1)
