"""Text-to-image models, U-Nets and transformers, of DDPMs and of flow matching, given the empty prompt."""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from mmengine.logging import MMLogger
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...errors import UnusableInputError
from .base import BaseTeacher
from .cleandift import TIMESTEP, CleanDIFT
from .execution import drop_uncalled
from .noise import ddpm_levels, flow_levels, is_flow
from .pipeline_files import PipelineFiles
from .pipelines import load_autoencoder
from .prompt import ask, build_pipeline, nested
from .reading import as_image_map, as_map
from .text_to_image_families import FAMILIES


@MODELS.register_module(name=['TextToImageTeacher', 'StableDiffusionTeacher'])
class TextToImageTeacher(BaseTeacher):
    """The denoiser of a text-to-image pipeline, told what its pipeline tells it for a prompt.

    The pipeline itself is asked: its call is stopped at the denoiser, whose arguments are kept in a file, so that text
    encoders are loaded once. Of the denoiser, only the weights up to the last layer are fetched and read, and they stay
    in their stored precision.

    t in [0, T) is a noise level whatever sampler the pipeline was saved with; for flow matching it is sigma = t / T.

    Args:
        pretrained: Hub id, or the folder of a saved pipeline.
        layers: Names of the denoiser's modules to read; by default one that the literature found, or the middle.
        image_size: Side of the images in pixels, or height and width; by default that of the pipeline.
        prompt: What it is told.
        autoencoder: Hub id, or folder, of an autoencoder in the place of the pipeline's, such as an
            ``AutoencoderTiny`` of the same latents: ``madebyollin/taesdxl`` for SDXL.
        cleandift: Weights of CleanDIFT in the place of those of the denoiser's; see ``CleanDIFT``. Its features are of
            the clean image, and the same at every t.
        options: As in ``BaseTeacher``: ``noise``, ``dtype``, ``compile``.

    Attributes:
        reads (str): What of the denoiser was read, and fetched.

    Raises:
        FileNotFoundError: When the pipeline cannot be found or fetched.
        ValueError: When it is of no family that is read, or as in ``BaseTeacher``.

    Examples:
        >>> teacher = TextToImageTeacher('PixArt-alpha/PixArt-XL-2-512x512', noise='forward')
        >>> teacher.feature_info
        {'transformer_blocks.13': (1152, 16)}
    """

    def __init__(
        self,
        pretrained: str,
        layers: Sequence[str] | None = None,
        image_size: int | tuple[int, int] | None = None,
        prompt: str = '',
        autoencoder: str | None = None,
        cleandift: str | None = None,
        **options,
    ):
        files = PipelineFiles(pretrained)
        self._kind = _kind(files, pretrained)
        family = FAMILIES[self._kind]
        part, network = files.denoiser()
        if cleandift and options.get('noise', 'none') != 'none':
            raise UnusableInputError("cleandift reads the clean image: leave out noise='forward'.")
        source = CleanDIFT(cleandift, network) if cleandift else files
        self.uses_timestep = cleandift is None
        components = {part: network} | _autoencoder(files, autoencoder)
        pipeline = build_pipeline(files, components, [*files.index])
        encoder = components.get('vae', components.get('movq'))
        scale = _pixels_of_a_latent(pipeline) if encoder else 1
        size = image_size or scale * (network.config.get('sample_size') or family.input_size)
        size = (size, size) if isinstance(size, int) else tuple(size)
        _check_size(size, scale * (_patch(pipeline, network) or 1))
        arguments = ask(files, family, components, network, size, prompt)

        # What is set here is used by super().__init__(), which runs the network once.
        self._latent_scale = family.scale
        self._x = next(name for name in ('hidden_states', 'sample') if name in arguments)
        self._num_timesteps = pipeline.scheduler.config.get('num_train_timesteps', 1000)
        first_time = float(arguments.pop('timestep').flatten()[0])
        self._time = _time_of(first_time, arguments.pop('first_timestep'), self._num_timesteps)
        self._pack = getattr(pipeline, '_pack_latents', None)
        channels = network.config.in_channels // (4 if self._pack else 1)
        height, width = (side // scale for side in size)
        patch = _patch(pipeline, network)
        self._grid = (height // patch, width // patch) if part == 'transformer' else None
        told = arguments.get('encoder_hidden_states')
        self._text_tokens = told.shape[1] if isinstance(told, Tensor) else 0
        del arguments[self._x]
        prompt_tensors, self._plain = _tensors_and_others(arguments)
        companions = {'prompt': prompt_tensors}
        if encoder:
            _check_latents(autoencoder or pretrained, channels, encoder)
            encoder.decoder = nn.Identity()  # AutoencoderKLQwenImage counts its layers when it encodes
            companions['autoencoder'] = encoder
        self._load = cache(lambda: self._read_weights(source, part))  # once, whoever needs them first
        super().__init__(
            network,
            pipeline.scheduler,
            layers or [family.layer(network)],
            image_scale=scale,
            input_shape=(channels, height, width),
            companions=companions,
            **options,
        )
        self._load()
        del self._load  # and, with it, what was not kept

    @property
    def family(self) -> str:
        return self._kind

    def _read_weights(self, source: PipelineFiles | CleanDIFT, part: str) -> None:
        self.reads = source.describe(part, self.network)
        MMLogger.get_current_instance().info(f'The teacher is {self.reads}.')
        source.load(part, self.network)

    def noise_levels(self, scheduler) -> Tensor:
        return flow_levels(self._num_timesteps) if is_flow(scheduler) else ddpm_levels(scheduler)

    def encode(self, images: Tensor) -> Tensor:
        """The latents, shifted and scaled as the pipeline does: the posterior's mode where there is a posterior."""
        if 'autoencoder' not in self.held:
            return images
        autoencoder = self.held['autoencoder']
        config = autoencoder.config
        is_video = 'temperal_downsample' in config  # as diffusers spells it
        images = images.to(next(autoencoder.parameters()).dtype)
        encoded = autoencoder.encode(images.unsqueeze(2) if is_video else images)
        latents = encoded.latent_dist.mode() if 'latent_dist' in encoded else encoded[0]
        latents = (latents.squeeze(2) if is_video else latents).float()
        scale = config.get('scaling_factor', 1.0) if self._latent_scale is None else self._latent_scale
        if config.get('latents_mean'):
            mean, std = (latents.new_tensor(config[name]).view(1, -1, 1, 1) for name in ('latents_mean', 'latents_std'))
            return (latents - mean) / std * scale
        return (latents - (config.get('shift_factor') or 0.0)) * scale

    def denoise(self, network: Callable, x: Tensor, t: Tensor, class_labels: Tensor | None) -> None:
        told = {}
        for name, value in self.held['prompt'].named_buffers():
            value = value.to(x if value.is_floating_point() else x.device)  # stored as the text encoder computed it
            told[name] = value.expand(len(x), *value.shape[1:]) if len(value) == 1 else value
        if self._pack:
            x = self._pack(x, len(x), x.shape[1], *x.shape[2:])
        t = t if self.uses_timestep else torch.full_like(t, TIMESTEP)
        slope, offset = self._time
        time = t if (slope, offset) == (1, 0) else slope * t.float() + offset
        network(**nested(self._plain | told) | {self._x: x, 'timestep': time})

    def as_map(self, output, layer: str, size: tuple[int, int]) -> Tensor:
        first = output[0] if isinstance(output, tuple) else output
        if self._grid is None or (isinstance(first, Tensor) and first.dim() == 4):
            return as_map(output, layer, size)
        return as_image_map(output, layer, self._grid, self._text_tokens)

    def _find_feature_info(self) -> dict[str, tuple[int, int]]:
        try:
            return super()._find_feature_info()
        except NotImplementedError:  # Lumina 2 reads values of its mask, which the meta device has none of
            self.can_record = False
            self._load()
            x = torch.zeros(1, *self._input_shape, dtype=next(self.network.parameters()).dtype)
            t = torch.zeros(1, dtype=torch.int64)
            with drop_uncalled(self.network), torch.no_grad():
                features = self._read_layers(self.network, x, t)
            return {layer: (f.shape[1], self.sample_size[0] // f.shape[2]) for layer, f in features.items()}

    def _set_up(self, device: torch.device) -> Callable[..., dict[str, Tensor]]:
        read = super()._set_up(device)
        for autoencoder in [part for name, part in self.held.items() if name == 'autoencoder']:
            if autoencoder.dtype == torch.float16 and autoencoder.config.get('force_upcast'):
                autoencoder.float()  # overflows in float16
        return read


def _kind(files: PipelineFiles, pretrained: str) -> str:
    kind = files.index.get('_class_name')
    if kind not in FAMILIES:
        raise UnusableInputError(
            f'teacher.pretrained={pretrained!r} is a {kind}; TextToImageTeacher reads {", ".join(FAMILIES)}.'
        )
    return kind


def _tensors_and_others(arguments: dict) -> tuple[nn.Module, dict]:
    """Tensors as buffers, which move to the device of the network."""
    tensors = nn.Module()
    for name, value in arguments.items():
        if isinstance(value, Tensor):
            tensors.register_buffer(name, value)
    return tensors, {name: value for name, value in arguments.items() if not isinstance(value, Tensor)}


def _pixels_of_a_latent(pipeline) -> int:
    """Side, in pixels, of what one latent stands for; Kandinsky's pipeline has another name for it than all others."""
    return getattr(pipeline, 'vae_scale_factor', None) or getattr(pipeline, 'movq_scale_factor', 1)


def _patch(pipeline, network: nn.Module) -> int | None:
    """Side of the square of latents that is one token; FLUX and Qwen-Image pack 2x2 before the network."""
    return 2 if hasattr(pipeline, '_pack_latents') else network.config.get('patch_size')


def _check_size(size: tuple[int, int], unit: int) -> None:
    if any(side % unit or side <= 0 for side in size):
        raise UnusableInputError(f'image_size={size}: expected height and width that are multiples of {unit} pixels.')


def _time_of(first: float, scheduler_time: float, num_timesteps: int) -> tuple[float, float]:
    """Slope and offset from t to the time that the network is told.

    Args:
        first: What the network is told in the sampler's first step, where the image is all noise.
        scheduler_time: The scheduler's timestep then.
        num_timesteps: T.
    """
    if first < 0.5 * scheduler_time / num_timesteps:  # from the image's end, as Lumina
        return -1 / num_timesteps, 1.0
    return first / scheduler_time, 0.0


def _autoencoder(files: PipelineFiles, given: str | None) -> dict[str, nn.Module]:
    """The pipeline's autoencoder by its name there, or the one that was given in its place."""
    if given is None:
        return {name: files.component(name) for name in ('vae', 'movq') if name in files.index}
    own = files.index.get('vae', (None, None))[1]
    if own != 'AutoencoderKL':
        raise UnusableInputError(
            f'autoencoder={given!r} stands in for an AutoencoderKL; the pipeline has {own or "none"}: leave it out.'
        )
    return {'vae': load_autoencoder(given)}


def _check_latents(source: str, channels: int, autoencoder: nn.Module) -> None:
    found = autoencoder.config.get('latent_channels', channels)
    if found != channels:
        raise UnusableInputError(
            f'The denoiser takes {channels} channels, the latents of {source!r} have {found}: a model for inpainting '
            'or depth is no teacher, and an autoencoder of another model no substitute.'
        )
