from mmcv.cnn import build_norm_layer
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...errors import UnusableInputError


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each after a norm and a ReLU: the paper's B(3, 3), pre-activated.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Of the first convolution.
        norm_cfg: Norm layers.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm_cfg: dict):
        super().__init__()
        self.norm1 = build_norm_layer(norm_cfg, in_channels)[1]
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm2 = build_norm_layer(norm_cfg, out_channels)[1]
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, h, w)`` to ``(N, out_channels, h / stride, w / stride)``."""
        activated = self.relu(self.norm1(x))
        residual = self.conv2(self.relu(self.norm2(self.conv1(activated))))
        # As in the authors' code: a projection reads the activation, an identity does not.
        return residual + (x if self.shortcut is None else self.shortcut(activated))


@MODELS.register_module()
class WideResNet(BaseBackbone):
    """WRN-``depth``-``width_factor`` (Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, Table 1).

    For images of 32 px: no down-sampling before the first group, whole stride 4. Without the paper's dropout.

    Args:
        depth: Convolutions on the longest path, shortcuts left out; 6n + 4.
        width_factor: The paper's k: the groups have 16k, 32k and 64k channels.
        out_indices: Groups, of 0 to 2, whose maps are returned. The last group's is normalised and activated.
        norm_cfg: Norm layers.
        init_cfg: Initialisation; by default He's, as in the paper.

    Raises:
        ValueError: For a depth or an index that does not exist.
    """

    def __init__(
        self,
        depth: int = 28,
        width_factor: int = 2,
        out_indices: tuple[int, ...] = (2,),
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ):
        he = [{'type': 'Kaiming', 'layer': ['Conv2d']}, {'type': 'Constant', 'val': 1, 'layer': ['_BatchNorm']}]
        super().__init__(init_cfg or he)
        if depth < 10 or (depth - 4) % 6:
            raise UnusableInputError(f'WideResNet: depth={depth}, expected 6n + 4, such as 16, 28 or 40.')
        if not out_indices or not set(out_indices) <= {0, 1, 2}:
            raise UnusableInputError(f'WideResNet: out_indices={out_indices}, expected some of 0, 1, 2.')
        self.out_indices = out_indices
        norm_cfg = norm_cfg or {'type': 'BN'}
        channels = [16, 16 * width_factor, 32 * width_factor, 64 * width_factor]
        self.conv1 = nn.Conv2d(3, channels[0], 3, padding=1, bias=False)
        self.groups = nn.ModuleList()
        for in_channels, out_channels, stride in zip(channels, channels[1:], (1, 2, 2), strict=False):
            first = WideBlock(in_channels, out_channels, stride, norm_cfg)
            others = [WideBlock(out_channels, out_channels, 1, norm_cfg) for _ in range((depth - 4) // 6 - 1)]
            self.groups.append(nn.Sequential(first, *others))
        self.norm = build_norm_layer(norm_cfg, channels[-1])[1]
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images ``(N, 3, H, W)`` to ``(N, 16k, H, W)``, ``(N, 32k, H / 2, W / 2)``, ``(N, 64k, H / 4, W / 4)``."""
        features = []
        x = self.conv1(x)
        for group in self.groups:
            x = group(x)
            features.append(x)
        features[-1] = self.relu(self.norm(x))
        return tuple(features[index] for index in self.out_indices)
