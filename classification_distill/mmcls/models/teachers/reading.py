"""What named layers of a network return while it runs, and no further than the last of them."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ...errors import UnusableInputError


class _StopForwardError(Exception):
    """Leaves the network's forward once every layer asked for has been computed."""


def read_layers(network: nn.Module, layers: Sequence[str], call: Callable[[], object]) -> dict[str, Tensor]:
    """The outputs of ``layers`` as maps ``(N, C, h, w)``, in their order.

    Args:
        network: Holds the layers.
        layers: Names of its modules.
        call: Runs the network; it is left as soon as the last layer has been computed.

    Raises:
        UnusableInputError: When a layer is not reached, or returns no map.
    """
    features: dict[str, Tensor] = {}

    def reader(layer: str):
        def read(module: nn.Module, args: tuple, output):
            features[layer] = _as_map(output[0] if isinstance(output, tuple) else output, layer)
            if len(features) == len(layers):
                raise _StopForwardError

        return read

    handles = [network.get_submodule(layer).register_forward_hook(reader(layer)) for layer in layers]
    try:
        call()
    except _StopForwardError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    if missed := [layer for layer in layers if layer not in features]:
        raise UnusableInputError(f'The teacher never calls {missed}: choose layers that its forward pass runs through.')
    return {layer: features[layer] for layer in layers}


def _as_map(feature: Tensor, layer: str) -> Tensor:
    if feature.dim() == 3:
        side = math.isqrt(feature.shape[1])
        if side * side == feature.shape[1]:
            return feature.transpose(1, 2).unflatten(2, (side, side))  # (N, h * w, C) -> (N, C, h, w)
    if feature.dim() != 4:
        raise UnusableInputError(
            f'Layer {layer!r} returns shape {tuple(feature.shape)}, not a map (N, C, h, w) or tokens of a square one.'
        )
    return feature
