"""CleanDIFT: U-Nets of Stable Diffusion that were trained on to read clean images, whatever the timestep."""

from pathlib import Path

from torch import nn

from ...errors import MissingFileError, UnusableInputError
from ...weights import compare, load_weights

#: What the network is told. Its timestep was learned from here on, and is not in the published weights.
TIMESTEP = 261


class CleanDIFT:
    """Weights in the place of those of a pipeline's denoiser, all of whose names and shapes they must have.

    "CleanDIFT: Diffusion Features without Noise" (Stracke et al., CVPR 2025), https://github.com/CompVis/cleandift.

    Args:
        path: ``cleandift_sd15_unet.safetensors`` or ``cleandift_sd21_unet.safetensors`` of ``CompVis/cleandift``.
        network: The pipeline's denoiser, without weights.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is damaged, holds more than tensors, or is of another network.
    """

    def __init__(self, path: str, network: nn.Module):
        self.path = Path(path)
        if not self.path.is_file():
            raise MissingFileError(
                f'cleandift={path!r}: there is no such file in {Path.cwd()}. Fetch it by: hf download CompVis/cleandift'
            )
        self.state = load_weights(self.path)
        if problems := compare(network.state_dict(), self.state, strict=True):
            raise UnusableInputError(
                f'cleandift={path!r} is not of the {type(network).__name__} of teacher.pretrained: those of Stable '
                'Diffusion 1.5 and 2.1 are two files.\n  ' + '\n  '.join(problems)
            )

    def describe(self, part: str, network: nn.Module) -> str:
        """What ``load`` reads."""
        count = sum(parameter.numel() for parameter in network.parameters())
        return f'{count / 1e6:,.0f} M parameters of {part}, from {self.path}'

    def load(self, part: str, network: nn.Module) -> None:
        """Read the parameters that ``network`` still has, in their stored precision, memory-mapped."""
        kept = {name: self.state[name] for name, _ in network.named_parameters()}
        network.load_state_dict(kept, strict=False, assign=True)
        network.requires_grad_(False)
