"""What all teachers share: a frozen network that is read at named layers and stops after the last of them."""

import difflib
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ...errors import UnusableInputError
from ..frozen import FrozenHolder
from ..images import Images, as_batch
from .class_conditioning import ClassConditioning
from .execution import GraphReplay, Precision, compile_blocks, drop_uncalled, no_autocast
from .noise import ddpm_levels
from .reading import as_map, read_layers

NOISES = ('none', 'forward')


class BaseTeacher(FrozenHolder):
    """A frozen diffusion model that returns features of named layers at a timestep.

    Blocks of the network that come after the last layer are dropped.

    Subclasses say how the network is called in ``denoise`` and, where it does not work on pixels, what it works on
    in ``encode``.

    Args:
        network: The denoising network, a diffusers model.
        scheduler: The diffusers scheduler of its diffusion process.
        layers: Names of the network's modules to read, as in ``network.named_modules()``. A layer that returns tokens
            ``(N, h * w, C)`` is read as the map ``(N, C, h, w)``, h : w as of the input.
        image_scale: Pixels of the image along a pixel of the network's input.
        input_shape: Channels, height and width of the network's input, where its config does not say them.
        companions: Further frozen modules that ``encode`` and ``denoise`` use, by name.
        class_labels: Class that a class-conditional network is told; see ``ClassConditioning``.
        noise: ``'none'`` gives the network the clean image, as the paper does; ``'forward'`` gives it a draw of
            q(x_t | x_0) at the timestep ("Denoising Diffusion Probabilistic Models", Ho et al., 2020, Eq. 4).
        dtype: Precision in which the network's weights are held and it runs; see ``Precision``. Features are float32
            in any case.
        compile: Compile the network's blocks by ``torch.compile`` and, on a GPU, replay them as a CUDA graph, which
            takes a minute or two at the first use. None does so on a GPU.

    Attributes:
        last_layer (str): Name of the layer with which the network's forward ends.
        sample_size (tuple[int, int]): Height and width to which images are resized, those of the training.
        num_timesteps (int): Number T of the diffusion process's timesteps.
        feature_info (dict): ``layer -> (channels, stride)``, the stride counted in pixels of the resized image.
        uses_timestep (bool): Whether the features depend on t.
        can_record (bool): Whether the network runs without waiting for the device, as a CUDA graph wants it.
        family (str): Of its models, by which ``literature.py`` knows which layers were found best.

    Raises:
        ValueError: When a layer is unknown, listed twice, not reached, or returns no map; or when an option is unknown.
    """

    last_layer = 'conv_out'
    uses_timestep = True
    can_record = True

    def __init__(
        self,
        network: nn.Module,
        scheduler,
        layers: Sequence[str],
        image_scale: int = 1,
        input_shape: tuple[int, int, int] | None = None,
        companions: dict[str, nn.Module] | None = None,
        class_labels: str | int = 'mean',
        noise: str = 'none',
        dtype: str = 'auto',
        compile: bool | None = None,
    ):
        super().__init__()
        if noise not in NOISES:
            raise UnusableInputError(f'noise={noise!r} is none of {", ".join(map(repr, NOISES))}.')
        size = getattr(network.config, 'sample_size', None) if input_shape is None else input_shape[1:]
        if size is None:
            raise UnusableInputError(
                f"The pipeline's {type(network).__name__} does not say how large its images are: write sample_size, "
                'their height and width, into the config.json of its folder.'
            )
        height, width = (size, size) if isinstance(size, int) else size
        self._input_shape = input_shape or (network.config.in_channels, height, width)
        self.sample_size = (height * image_scale, width * image_scale)
        self.layers = tuple(layers)
        # The factors of x_0 and of the noise in x_t (2, T). A plain attribute, which no checkpoint has; it moves with
        # the network.
        self.levels = self.noise_levels(scheduler)
        self.num_timesteps = self.levels.shape[1]
        self.noise = noise
        self.precision = Precision(dtype)
        self.compile_network = compile
        self.class_conditioning = ClassConditioning(*self.class_embeddings(network), class_labels)

        self.hold(network=network, **companions or {})
        self._check_layer_names()
        self.feature_info = self._find_feature_info()
        self._is_compiled = False

    @property
    def family(self) -> str:
        return type(self).__name__

    @property
    def network(self) -> nn.Module:
        """nn.Module: The frozen denoising network, up to the last block that holds a layer."""
        return self.held['network']

    def class_embeddings(self, network: nn.Module) -> tuple[list[nn.Embedding], int]:
        """The tables in which ``network`` looks up a class, and its number of classes; none and 0 without classes."""
        return [], 0

    def noise_levels(self, scheduler) -> Tensor:
        """The factors of x_0 and of the noise in x_t, ``(2, T)``."""
        return ddpm_levels(scheduler)

    def encode(self, images: Tensor) -> Tensor:
        """From images ``(N, 3, H, W)`` of the teacher's sample size to the x_0 that the network was trained on."""
        return images

    def denoise(self, network: Callable, x: Tensor, t: Tensor, class_labels: Tensor | None) -> None:
        """Call ``network``; what it returns is not used, its layers are read while it runs."""
        raise NotImplementedError

    def forward(
        self, images: Tensor, t: Tensor, class_labels: Tensor | None = None, pooled: bool | tuple[str, ...] = False
    ) -> dict[str, Tensor]:
        """Read the layers' features.

        Args:
            images: ``(N, 3, H, W)`` in [-1, 1].
            t: Timesteps ``(N,)``, int64 in [0, T).
            class_labels: The data set's labels ``(N,)``, which only ``class_labels='true'`` uses.
            pooled: Whether to return global averages, which are taken where the maps are; or of which layers.

        Returns:
            dict[str, Tensor]: ``layer -> (N, C, h, w)``, h = w = 1 where ``pooled``, float32, in the order of
            ``layers``.
        """
        with torch.inference_mode(), no_autocast(images.device):
            read = self._set_up(images.device)
            x = self.prepare(images, t)
            features = read(x, t, self.class_conditioning(t, class_labels), pooled=pooled)
        # Copied outside of inference mode, without which autograd could not keep them for a backward pass.
        return {layer: feature.to(torch.float32, copy=True) for layer, feature in features.items()}

    def read(self, images: Images, t: int | Sequence[int] | Tensor, **options) -> dict[str, Tensor]:
        """Read the layers' features of ordinary images.

        Args:
            images: PIL images, arrays or tensors; see ``as_batch``. They are resized to ``sample_size``.
            t: One timestep for all images, or one for each.
            options: Further arguments of ``forward``.

        Returns:
            dict[str, Tensor]: As ``forward``.

        Examples:
            >>> teacher = load_teacher('google/ddpm-cifar10-32')
            >>> teacher.read(Image.open('cat.jpg'), t=100)['mid_block.resnets.1.conv2'].shape
            torch.Size([1, 256, 4, 4])
        """
        device = next(self.network.parameters()).device
        batch = as_batch(images, self.sample_size).to(device)
        return self(2 * batch - 1, torch.as_tensor(t, device=device).expand(len(batch)), **options)

    def prepare(self, images: Tensor, t: Tensor) -> Tensor:
        """What the network is given for ``images`` at ``t``: resized, encoded and, where asked for, noised."""
        if images.shape[-2:] != torch.Size(self.sample_size):
            images = F.interpolate(images, self.sample_size, mode='bilinear', antialias=True, align_corners=False)
        x = self.encode(images)
        if self.noise == 'forward':
            x = self.diffuse(x, t)
        x = x.to(self.precision.resolve(x.device))
        return x.contiguous(memory_format=torch.channels_last) if self._is_compiled else x

    def diffuse(self, x: Tensor, t: Tensor) -> Tensor:
        """A draw of q(x_t | x_0) for ``x (N, C, h, w)``, whatever sampler the pipeline was saved with."""
        signal, noise = self.levels[:, t].view(2, -1, 1, 1, 1)
        return (signal * x + noise * torch.randn_like(x)).to(x.dtype)

    def _apply(self, fn, recurse: bool = True):
        super()._apply(fn, recurse)
        if self._is_compiled:
            self._replay.forget()
        # Moved, never cast: in half precision the levels of early timesteps are all 1.
        self.levels = self.levels.to(fn(self.levels).device)
        return self

    def _set_up(self, device: torch.device) -> Callable[..., dict[str, Tensor]]:
        """Bring the network into the form that is fast on ``device``, and give the function that reads it."""
        dtype = self.precision.resolve(device)
        if next(self.network.parameters()).dtype != dtype:
            self.held.to(dtype)
            if self._is_compiled:
                self._replay.forget()
        on_gpu = device.type == 'cuda'
        if (on_gpu if self.compile_network is None else self.compile_network) and not self._is_compiled:
            compile_blocks(self.network, self.layers)
            self._replay = GraphReplay(self._read)
            self._is_compiled = True
        return self._replay if self._is_compiled and on_gpu and self.can_record else self._read

    def _read(
        self, x: Tensor, t: Tensor, class_labels: Tensor | None, pooled: bool | tuple[str, ...]
    ) -> dict[str, Tensor]:
        features = self._read_layers(self.network, x, t, class_labels)
        averaged = self.layers if pooled is True else pooled or ()
        return features | {layer: features[layer].mean((2, 3), keepdim=True, dtype=torch.float32) for layer in averaged}

    def _read_layers(
        self, network: Callable, x: Tensor, t: Tensor, class_labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        size = tuple(x.shape[-2:])
        return read_layers(
            self.network,
            self.layers,
            lambda: self.denoise(network, x, t, class_labels),
            lambda output, layer: self.as_map(output, layer, size),
        )

    def as_map(self, output, layer: str, size: tuple[int, int]) -> Tensor:
        """The map ``(N, C, h, w)`` in what a layer returned; ``size`` is that of the network's input."""
        return as_map(output, layer, size)

    def _check_layer_names(self) -> None:
        names = [name for name, _ in self.network.named_modules() if name]
        if not self.layers or len(set(self.layers)) != len(self.layers):
            raise UnusableInputError(
                f'layers={list(self.layers)}: name at least one layer of the teacher, each only once.'
            )
        for layer in self.layers:
            if layer not in names:
                near = difflib.get_close_matches(layer, names, n=5, cutoff=0.5) or names[:5]
                raise UnusableInputError(
                    f'The teacher {type(self.network).__name__} has no layer {layer!r}. Near ones: {", ".join(near)}.'
                )

    @torch.no_grad()
    def _find_feature_info(self) -> dict[str, tuple[int, int]]:
        """Shapes by a forward pass on the meta device, which computes nothing and shows which blocks are needed."""
        tensors = dict(self.network.named_parameters()) | dict(self.network.named_buffers())
        meta = {name: tensor.to('meta') for name, tensor in tensors.items()}
        x = torch.zeros(1, *self._input_shape, device='meta', dtype=next(self.network.parameters()).dtype)
        t = torch.zeros(1, dtype=torch.int64, device='meta')

        def call(*args, **kwargs):
            return functional_call(self.network, meta, args, kwargs)

        with drop_uncalled(self.network):
            features = self._read_layers(call, x, t, t if self.class_conditioning.num_classes else None)
        return {layer: (f.shape[1], self.sample_size[0] // f.shape[2]) for layer, f in features.items()}
