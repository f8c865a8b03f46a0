"""What teachers with Karras's noise levels share."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from .diffusers_teacher import UNetTeacher
from .noise import KarrasProcess


class KarrasTeacher(UNetTeacher):
    """A ``UNet2DModel`` that was trained on x_0 + sigma times noise.

    Args:
        network: The U-Net.
        process: Its noise levels.
        layers: Names of the U-Net's modules to read.
        options: As in ``BaseTeacher``.
    """

    def __init__(self, network: nn.Module, process: KarrasProcess, layers: Sequence[str], **options):
        self.process = process
        super().__init__(network, process, layers, **options)

    def noise_levels(self, scheduler: KarrasProcess) -> Tensor:
        return scheduler.levels()

    def denoise(self, network: Callable, x: Tensor, t: Tensor, class_labels: Tensor | None) -> None:
        network(*self.process.precondition(x, self.levels[1].to(x.device)[t]), class_labels)
