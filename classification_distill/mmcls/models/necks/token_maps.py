import math

from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...errors import UnusableInputError


@MODELS.register_module()
class TokenMaps(nn.Module):
    """Tokens ``(N, C, h * w)`` of MMPretrain's MlpMixer and EfficientFormer as the square maps that they are of."""

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Maps ``(N, C, h, w)``, h = w.

        Raises:
            ValueError: When the tokens are not those of a square map.
        """
        return tuple(map(_as_map, features))


def _as_map(tokens: Tensor) -> Tensor:
    side = math.isqrt(tokens.shape[-1])
    if tokens.dim() != 3 or side * side != tokens.shape[-1]:
        raise UnusableInputError(
            f'TokenMaps got {tuple(tokens.shape)}, expected tokens (N, C, h * w) of a square map, h = w.'
        )
    return tokens.unflatten(2, (side, side))
