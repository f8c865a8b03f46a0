"""A network as ONNX, compared with itself in torch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from mmpretrain.models.utils.attention import ShiftWindowMSA
from torch import Tensor, nn

from ..errors import UnusableInputError
from .student import trial_images

TOLERANCE = 1e-4
AXES = {0: 'batch', 2: 'height', 3: 'width'}


class ExportError(UnusableInputError):
    """A network that ONNX Runtime does not compute as torch does."""


@dataclass
class Exported:
    """What was written.

    Attributes:
        difference: The largest between ONNX Runtime and torch; where values exceed 1, relative to the largest.
        any_size: Whether height and width may be others than those of the training.
    """

    difference: float
    any_size: bool


@torch.no_grad()
def write_onnx(network: nn.Module, image_size: int, outputs: Sequence[str], path: Path) -> Exported:
    """Export a network for batches of any number and, where it takes them, images of any size.

    Args:
        network: Takes ``images (N, 3, H, W)``, RGB in [0, 1]; gives a tuple of tensors.
        image_size: Side of the images that it was trained on.
        outputs: Names of what it gives.
        path: File to write.

    Raises:
        ExportError: When torch cannot export it, or ONNX Runtime gives others than torch.
    """
    import onnx

    images = torch.rand(3, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    other = torch.rand(2, 3, image_size + 5, 2 * image_size + 13)
    reason = 'torch cannot export this network to ONNX'
    for any_size in (True, False) if _takes(network, other) else (False,):
        # Of a map with one place the exporter would keep that it has one.
        model = _convert(network, trial_images(network, image_size) if any_size else images, outputs, any_size)
        if model is None:
            continue
        onnx.save(model, path)
        trials = [images, images[:1], *[other] * any_size]
        difference = torch.tensor([_difference(network, path, trial) for trial in trials]).max().item()
        if difference <= TOLERANCE:
            return Exported(difference, any_size)
        reason = f'ONNX Runtime and torch differ by {difference:.2g}, expected at most {TOLERANCE}'
        path.unlink()
    raise ExportError(f'{reason}.')


def _takes(network: nn.Module, images: Tensor) -> bool:
    """Whether the network takes images that are not of the training's size."""
    if any(isinstance(module, ShiftWindowMSA) for module in network.modules()):
        return False  # its windows' masks are computed for a size, and would be kept as they are then
    try:
        network(images)
    except Exception:  # as the network raises it
        return False
    return True


def _convert(network: nn.Module, images: Tensor, outputs: Sequence[str], any_size: bool):
    """ONNX's model; None where torch cannot export the network, or not for other sizes."""
    axes = AXES if any_size else {0: AXES[0]}
    try:
        with _batches_of_any_number():
            model = torch.onnx.export(
                network,
                (images,),
                input_names=['images'],
                output_names=list(outputs),
                dynamic_shapes=(axes,),
                dynamo=True,
                verbose=False,
            ).model_proto
    except torch.onnx.errors.OnnxExporterError:
        return None
    # The exporter notes the traceback of every operation, with the folders of this machine.
    for part in (model.graph, *model.graph.node):
        part.ClearField('metadata_props')
    return model


def _difference(network: nn.Module, path: Path, images: Tensor) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it fails at is told here
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    try:
        found = session.run(None, {'images': images.numpy()})
    except Exception:  # of its own, without a base: the file is for other images
        return float('inf')
    pairs = zip(network(images), map(torch.from_numpy, found), strict=True)
    return max(_relative(*pair) if pair[0].shape == pair[1].shape else float('inf') for pair in pairs)


def _relative(expected: Tensor, found: Tensor) -> float:
    return ((expected - found).abs().max() / expected.abs().max().clamp_min(1)).item()


@contextmanager
def _batches_of_any_number() -> Iterator[None]:
    """MMPretrain's Swin (onedl-mmpretrain 1.3.6) computes the batch by ``int(...)``, which an export would keep."""

    def window_reverse(windows: Tensor, height: int, width: int, size: int) -> Tensor:
        maps = windows.view(-1, height // size, width // size, size, size, windows.shape[-1])
        return maps.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, windows.shape[-1])

    theirs = ShiftWindowMSA.window_reverse
    ShiftWindowMSA.window_reverse = staticmethod(window_reverse)
    try:
        yield
    finally:
        ShiftWindowMSA.window_reverse = staticmethod(theirs)
