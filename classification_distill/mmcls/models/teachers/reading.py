"""What named layers of a network return while it runs, and no further than the last of them."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ...errors import UnusableInputError


class _StopForwardError(Exception):
    """Leaves the network's forward once every layer asked for has been computed."""


def read_layers(
    network: nn.Module, layers: Sequence[str], call: Callable[[], object], to_map: Callable[[object, str], Tensor]
) -> dict[str, Tensor]:
    """The outputs of ``layers`` as maps ``(N, C, h, w)``, in their order.

    Args:
        network: Holds the layers.
        layers: Names of its modules.
        call: Runs the network; it is left as soon as the last layer has been computed.
        to_map: From what a layer returned, and its name, to the map.

    Raises:
        UnusableInputError: When a layer is not reached, or returns no map.
    """
    features: dict[str, Tensor] = {}

    def reader(layer: str):
        def read(module: nn.Module, args: tuple, output):
            features[layer] = to_map(output, layer)
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


def as_map(output, layer: str, size: tuple[int, int]) -> Tensor:
    """The map ``(N, C, h, w)`` in what a layer returned: a map, or tokens ``(N, h * w, C)`` of one, alone or first.

    Args:
        output: What the layer returned.
        layer: Its name.
        size: Height and width of the network's input, whose ratio tokens have.

    Raises:
        UnusableInputError: When there is no such map.
    """
    feature = output[0] if isinstance(output, tuple) else output
    if isinstance(feature, Tensor) and feature.dim() == 4:
        return feature
    if isinstance(feature, Tensor) and feature.dim() == 3:
        stride = math.sqrt(size[0] * size[1] / feature.shape[1])
        grid = (round(size[0] / stride), round(size[1] / stride))
        if grid[0] * grid[1] == feature.shape[1]:
            return feature.transpose(1, 2).unflatten(2, grid)
    found = tuple(feature.shape) if isinstance(feature, Tensor) else type(feature).__name__
    raise UnusableInputError(f'Layer {layer!r} returns {found}, not a map (N, C, h, w) or tokens of one.')


def as_image_map(output, layer: str, grid: tuple[int, int], text_tokens: int) -> Tensor:
    """The image's map in what a layer of a transformer returned that works on tokens of an image and of a text.

    Its blocks return both apart, in either order, or in one row, the text first.

    Args:
        output: What the layer returned.
        layer: Its name.
        grid: Rows and columns of the image's tokens.
        text_tokens: Number of the text's tokens.

    Raises:
        UnusableInputError: When there are no tokens of the image, or they cannot be told from those of the text.
    """
    outputs = output if isinstance(output, tuple) else (output,)
    outputs = [each for each in outputs if isinstance(each, Tensor) and each.dim() == 3]
    count = grid[0] * grid[1]
    exact = [each for each in outputs if each.shape[1] == count]
    longer = [each for each in outputs if each.shape[1] > count and each.shape[1] != text_tokens]
    if exact and text_tokens == count:
        raise UnusableInputError(
            f'Layer {layer!r}: the text has as many tokens as the image, {count}, so that they cannot be told apart. '
            'Choose another image_size.'
        )
    if not exact and not longer:
        shapes = [tuple(each.shape) for each in outputs]
        raise UnusableInputError(
            f'Layer {layer!r} returns {shapes or "no tokens"}; the image has {count} tokens, the text {text_tokens}.'
        )
    return (exact or longer)[0][:, -count:].transpose(1, 2).unflatten(2, grid)
