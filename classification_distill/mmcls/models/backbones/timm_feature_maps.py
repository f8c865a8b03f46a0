from collections.abc import Iterable

import torch
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...errors import UnusableInputError


@MODELS.register_module()
class TIMMFeatureMaps(BaseBackbone):
    """The last feature maps of a network of timm, by its ``forward_intermediates``.

    For those of which ``TIMMBackbone`` gives none: vision transformers, whose tokens become maps, networks of
    channels-last maps, and networks whose pooling cannot be left out. Its tensors are named as ``TIMMBackbone``'s
    without ``features_only``. Those that no map depends on are not trained.

    Args:
        model_name: As ``timm.list_models()`` has it.
        maps: How many maps are returned, the last ones.
        init_cfg: Initialisation, as of any backbone.
        options: Further arguments of ``timm.create_model``: ``img_size=64``, ``pretrained=True``, ``checkpoint_path``.

    Attributes:
        reading (dict): Arguments of ``forward_intermediates``, besides the images.

    Raises:
        ValueError: When the network gives no maps.

    Examples:
        >>> backbone = TIMMFeatureMaps('vit_tiny_patch16_224', img_size=64)
        >>> backbone(torch.zeros(1, 3, 64, 64))[0].shape
        torch.Size([1, 192, 4, 4])
    """

    def __init__(self, model_name: str, maps: int = 1, init_cfg: dict | list | None = None, **options):
        super().__init__(init_cfg)
        import timm

        self.timm_model = timm.create_model(model_name, num_classes=0, **options)
        if not hasattr(self.timm_model, 'forward_intermediates'):
            raise UnusableInputError(f'timm gives no feature maps of {model_name}: it has no forward_intermediates.')
        self.reading = {'indices': maps, 'norm': True, 'output_fmt': 'NCHW', 'intermediates_only': True}
        weights = {key: options.pop(key, None) for key in ('pretrained', 'checkpoint_path')}
        with torch.device('meta'):  # where nothing is computed
            twin = timm.create_model(model_name, num_classes=0, **options).eval()
        size = options.get('img_size') or twin.default_cfg['input_size'][-2:]
        blank = torch.zeros(
            1, options.get('in_chans', 3), *((size, size) if isinstance(size, int) else size), device='meta'
        )
        with torch.enable_grad():
            try:
                found = self._read(twin, blank)
            except AssertionError:  # of networks that have no norm after their last block
                self.reading['norm'] = False
                found = self._read(twin, blank)
            used = _find_used(twin, found)
        for name, parameter in self.timm_model.named_parameters():
            parameter.requires_grad_(name in used)
        if any(weights.values()):  # MMEngine would have timm initialise them anew
            self._is_init = True

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps ``(N, C, h, w)`` of images ``(N, 3, H, W)``."""
        return self._read(self.timm_model, images)

    def _read(self, network: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(network.forward_intermediates(images, **self.reading))


def is_channels_last(backbone: nn.Module, feature: Tensor) -> bool:
    """Whether the last feature of a ``TIMMBackbone`` is a map ``(N, h, w, C)``, as timm's Swin returns it."""
    model = getattr(backbone, 'timm_model', None)
    if model is None or isinstance(backbone, TIMMFeatureMaps) or feature.dim() != 4:
        return False
    if hasattr(model, 'num_features'):
        widths = {model.num_features, getattr(model, 'head_hidden_size', model.num_features)}
    else:  # features_only
        widths = set(model.feature_info.channels())
    return feature.shape[1] not in widths and feature.shape[3] in widths


def _find_used(network: nn.Module, maps: Iterable[Tensor]) -> set[str]:
    """Names of the parameters that the maps depend on; DDP waits for the gradients of all that are trained."""
    parameters = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    gradients = torch.autograd.grad(sum(each.sum() for each in maps), parameters.values(), allow_unused=True)
    return {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
