"""Diffusion models that work on the latents of an autoencoder."""

from collections.abc import Callable, Sequence

from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .base import BaseTeacher
from .diffusers_teacher import MIDDLE
from .pipelines import load_pipeline


class LatentDiffusionTeacher(BaseTeacher):
    """What teachers on latents share; the autoencoder's decoder is dropped.

    Args:
        network: The denoising network.
        autoencoder: A diffusers ``AutoencoderKL`` or ``VQModel``.
        scheduler: The diffusers scheduler.
        layers: Names of the network's modules to read.
        companions: Further frozen modules, by name.
        options: As in ``BaseTeacher``.
    """

    def __init__(
        self,
        network: nn.Module,
        autoencoder: nn.Module,
        scheduler,
        layers: Sequence[str],
        companions: dict[str, nn.Module] | None = None,
        **options,
    ):
        autoencoder.decoder = None
        self._scale = _scaling_factor(autoencoder)
        super().__init__(
            network,
            scheduler,
            layers,
            image_scale=2 ** (len(autoencoder.config.block_out_channels) - 1),
            companions={'autoencoder': autoencoder} | (companions or {}),
            **options,
        )

    def encode(self, images: Tensor) -> Tensor:
        """The latents: the posterior's mode where there is a posterior, so that an image has one encoding."""
        autoencoder = self.held['autoencoder']
        encoded = autoencoder.encode(images.to(autoencoder.dtype))
        latents = encoded.latent_dist.mode() if 'latent_dist' in encoded else encoded.latents
        return latents.float() * self._scale


def _scaling_factor(autoencoder: nn.Module) -> float:
    """What the latents are multiplied by.

    diffusers' default is Stable Diffusion's. A ``VQModel`` that was saved without one, as CompVis's are, is of a
    diffusion model that was trained on the latents as they are.
    """
    config = autoencoder.config
    saved_without = 'scaling_factor' in config.get('_use_default_values', ())
    return 1.0 if saved_without and type(autoencoder).__name__ == 'VQModel' else config.scaling_factor


@MODELS.register_module()
class LatentTeacher(LatentDiffusionTeacher):
    """An unconditional latent diffusion model, such as ``CompVis/ldm-celebahq-256``.

    "High-Resolution Image Synthesis with Latent Diffusion Models" (Rombach et al., CVPR 2022).

    Args:
        pretrained: Hub id, or the folder of a saved ``LDMPipeline``.
        layers: Names of the U-Net's modules to read.
        options: As in ``BaseTeacher``: ``noise``, ``dtype``, ``compile``.

    Raises:
        FileNotFoundError: When the pipeline cannot be found or fetched.
        ValueError: When it is none of unconditional latent diffusion, or as in ``BaseTeacher``.
    """

    def __init__(self, pretrained: str, layers: Sequence[str] = (MIDDLE,), **options):
        pipeline = load_pipeline(
            pretrained, 'LDMPipeline', {'unet': 'UNet2DModel', 'vqvae': ('VQModel', 'AutoencoderKL')}
        )
        super().__init__(pipeline.unet, pipeline.vqvae, pipeline.scheduler, layers, **options)

    def denoise(self, network: Callable, x: Tensor, t: Tensor, class_labels: Tensor | None) -> None:
        network(x, t)
