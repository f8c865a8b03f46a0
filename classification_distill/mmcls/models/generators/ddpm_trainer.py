"""Training of a small diffusion model, for people whose domain has none."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmpretrain.registry import MODELS
from torch import Tensor

from ...errors import UnusableInputError
from ..images import check_diffusion_range, to_diffusion_range

if TYPE_CHECKING:
    from diffusers import DDPMPipeline


@MODELS.register_module()
class DDPMTrainer(BaseModel):
    """A diffusers ``UNet2DModel`` trained to predict the noise (Ho et al., NeurIPS 2020, eq. 14).

    Args:
        unet: Settings of ``UNet2DModel``.
        scheduler: Settings of ``DDPMScheduler``.
        data_preprocessor: As for any classifier; the images are brought to [-1, 1] from its mean and std.
        compile: Compile the U-Net by ``torch.compile``, which takes a minute or two at the start. None does so on a
            GPU.

    Raises:
        ValueError: When the U-Net's levels cannot halve its ``sample_size``, or at the first images of another size.
    """

    def __init__(
        self,
        unet: dict,
        scheduler: dict | None = None,
        data_preprocessor: dict | None = None,
        compile: bool | None = None,
    ):
        super().__init__(data_preprocessor={'type': 'ClsDataPreprocessor'} | dict(data_preprocessor or {}))
        from diffusers import DDPMScheduler, UNet2DModel

        self.unet = UNet2DModel(**unet)
        self.sample_size = _check_size(unet.get('sample_size'), 2 ** (len(self.unet.config.block_out_channels) - 1))
        self.scheduler = DDPMScheduler(**(scheduler or {}))
        self._range_checked = False
        self.compile_unet = compile

    def to(self, *args, **kwargs) -> 'DDPMTrainer':
        """Move the model, and compile it where that is asked for."""
        super().to(*args, **kwargs)
        if next(self.unet.parameters()).is_cuda if self.compile_unet is None else self.compile_unet:
            self.unet.compile()
        return self

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'loss') -> dict[str, Tensor]:
        """Mean squared error of what the U-Net predicts, by default the noise, for images ``(N, 3, H, W)``.

        The only mode is ``'loss'``.
        """
        if mode != 'loss':
            raise UnusableInputError(f'DDPMTrainer only trains; mode={mode!r} is not one of its modes.')
        images = to_diffusion_range(inputs, self.data_preprocessor)
        if not self._range_checked:
            check_diffusion_range(images)
            if images.shape[-2:] != torch.Size(self.sample_size):
                raise UnusableInputError(
                    f'The images are {images.shape[-2]}x{images.shape[-1]}, and model.unet.sample_size is '
                    f'{self.sample_size}: give both the same, in the pipeline of train_dataloader.dataset.'
                )
            self._range_checked = True
        t = torch.randint(self.scheduler.config.num_train_timesteps, (len(images),), device=images.device)
        noise = torch.randn_like(images)
        predicted = self.unet(self.scheduler.add_noise(images, noise, t), t).sample
        return {'loss_noise': F.mse_loss(predicted.float(), self._target(images, noise, t))}

    def _target(self, images: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the scheduler takes the U-Net's output for: the noise, the image, or their velocity."""
        kind = self.scheduler.config.prediction_type
        if kind == 'v_prediction':
            return self.scheduler.get_velocity(images, noise, t)
        return images if kind == 'sample' else noise

    def pipeline(self) -> 'DDPMPipeline':
        """The diffusers pipeline around the model's own U-Net."""
        from diffusers import DDPMPipeline

        return DDPMPipeline(self.unet, self.scheduler)


def _check_size(size: int | tuple[int, int] | None, factor: int) -> tuple[int, int]:
    """The ``sample_size`` of a U-Net as height and width, which ``factor`` must divide."""
    sides = (size, size) if isinstance(size, int) else tuple(size or ())
    if len(sides) != 2 or any(side % factor for side in sides):
        raise UnusableInputError(
            f"model.unet.sample_size={size}: expected the images' height and width, which the levels of "
            f'block_out_channels halve, so multiples of {factor}.'
        )
    return sides
