"""What all teachers share: a frozen network that is read at named layers and stops after the last of them."""

import difflib
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


class _Unregistered:
    """Holds a network out of reach of ``parameters()``, ``state_dict()``, ``train()`` and ``copy.deepcopy``."""

    def __init__(self, network: nn.Module):
        self.network = network

    def __deepcopy__(self, memo: dict) -> '_Unregistered':
        return self


class _StopForwardError(Exception):
    """Leaves the network's forward once every layer asked for has been computed."""


class BaseTeacher(nn.Module):
    """A frozen diffusion model that returns features of named layers at a timestep.

    To whatever owns it the teacher is a module without parameters, buffers or children, so that no optimizer,
    checkpoint, EMA copy or DDP bucket ever holds its weights; only ``.to()`` and its relatives reach them.

    Subclasses say how the network is called in :meth:`denoise`.

    Args:
        network: The denoising network.
        layers: Names of the network's modules to read, as in ``network.named_modules()``.
        sample_size: Height and width at which the network was trained; images are resized to it.
        num_timesteps: Number T of the diffusion process's timesteps.

    Attributes:
        feature_info (dict): ``layer -> (channels, stride)``, the stride counted in the network's own input.

    Raises:
        ValueError: When a layer is unknown, listed twice, not reached, or does not return a ``(N, C, h, w)`` map.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], sample_size: tuple[int, int], num_timesteps: int):
        super().__init__()
        self._held = _Unregistered(network.requires_grad_(False).eval())
        self.layers = tuple(layers)
        self.sample_size = sample_size
        self.num_timesteps = num_timesteps
        self._check_layer_names()
        self.feature_info = self._find_feature_info()

    @property
    def network(self) -> nn.Module:
        """nn.Module: The frozen denoising network."""
        return self._held.network

    def denoise(self, network: Callable, images: Tensor, t: Tensor, class_labels: Tensor | None) -> None:
        """Call ``network``; what it returns is not used, its layers are read while it runs."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, images: Tensor, t: Tensor, class_labels: Tensor | None = None) -> dict[str, Tensor]:
        """Read the layers' features.

        Args:
            images: ``(N, 3, H, W)`` in [-1, 1].
            t: Timesteps ``(N,)``, int64 in [0, T).
            class_labels: ``(N,)``, for class-conditional teachers.

        Returns:
            dict[str, Tensor]: ``layer -> (N, C, h, w)``, in the order of ``layers``.
        """
        if images.shape[-2:] != torch.Size(self.sample_size):
            images = F.interpolate(images, self.sample_size, mode='bilinear', antialias=True, align_corners=False)
        return self._read_layers(self.network, images, t, class_labels)

    def _read_layers(
        self, network: Callable, images: Tensor, t: Tensor, class_labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        features: dict[str, Tensor] = {}

        def reader(layer: str):
            def read(module: nn.Module, args: tuple, output):
                features[layer] = output[0] if isinstance(output, tuple) else output
                if len(features) == len(self.layers):
                    raise _StopForwardError

            return read

        handles = [self.network.get_submodule(layer).register_forward_hook(reader(layer)) for layer in self.layers]
        try:
            self.denoise(network, images, t, class_labels)
        except _StopForwardError:
            pass
        finally:
            for handle in handles:
                handle.remove()
        if missed := [layer for layer in self.layers if layer not in features]:
            raise ValueError(f'The teacher never calls {missed}: choose layers that its forward pass runs through.')
        return {layer: features[layer] for layer in self.layers}

    def _check_layer_names(self) -> None:
        names = [name for name, _ in self.network.named_modules() if name]
        if not self.layers or len(set(self.layers)) != len(self.layers):
            raise ValueError(f'layers={list(self.layers)}: name at least one layer of the teacher, each only once.')
        for layer in self.layers:
            if layer not in names:
                near = difflib.get_close_matches(layer, names, n=5, cutoff=0.5) or names[:5]
                raise ValueError(
                    f'The teacher {type(self.network).__name__} has no layer {layer!r}. Near ones: {", ".join(near)}.'
                )

    @torch.no_grad()
    def _find_feature_info(self) -> dict[str, tuple[int, int]]:
        """Shapes by a forward pass on the meta device, which computes nothing."""
        tensors = dict(self.network.named_parameters()) | dict(self.network.named_buffers())
        meta = {name: tensor.to('meta') for name, tensor in tensors.items()}
        images = torch.zeros(1, 3, *self.sample_size, device='meta', dtype=next(self.network.parameters()).dtype)
        t = torch.zeros(1, dtype=torch.int64, device='meta')
        features = self._read_layers(lambda *args: functional_call(self.network, meta, args), images, t)
        for layer, feature in features.items():
            if feature.dim() != 4:
                raise ValueError(f'Layer {layer!r} returns shape {tuple(feature.shape)}, not a map (N, C, h, w).')
        return {layer: (f.shape[1], self.sample_size[0] // f.shape[2]) for layer, f in features.items()}

    def _apply(self, fn, recurse: bool = True):
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)
