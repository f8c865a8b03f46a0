"""The published way to read a teacher, to measure against: the whole network, in float32, features by hooks."""

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class PublishedTeacher(nn.Module):
    """Any teacher's network, run to its end.

    Args:
        teacher: Config of the teacher, in float32 and not compiled.
    """

    def __init__(self, teacher: dict):
        super().__init__()
        reader = MODELS.build(teacher)
        self.layers = reader.layers
        self.feature_info = reader.feature_info
        # With the last layer among those to be read, no block is dropped.
        last = [] if reader.last_layer in self.layers else [reader.last_layer]
        self.whole = MODELS.build(teacher | {'layers': [*self.layers, *last]})
        self.sample_size = self.whole.sample_size
        self.num_timesteps = self.whole.num_timesteps
        self.class_conditioning = self.whole.class_conditioning
        self.uses_timestep = self.whole.uses_timestep

    @torch.no_grad()
    def forward(
        self, images: Tensor, t: Tensor, class_labels: Tensor | None = None, pooled: bool | tuple[str, ...] = False
    ) -> dict[str, Tensor]:
        """As a teacher's ``forward``; a token layer stays ``(N, h * w, C)``."""
        features = {}

        def reader(layer: str):
            return lambda module, args, out: features.update({layer: out[0] if isinstance(out, tuple) else out})

        network = self.whole.network
        handles = [network.get_submodule(layer).register_forward_hook(reader(layer)) for layer in self.layers]
        x = self.whole.prepare(images, t)
        self.whole.denoise(network, x, t, self.class_conditioning(t, class_labels))
        for handle in handles:
            handle.remove()
        averaged = self.layers if pooled is True else pooled or ()
        return {k: features[k].mean((2, 3), keepdim=True) if k in averaged else features[k] for k in self.layers}
