"""Feature maps as pictures: the three directions in which they vary most are red, green and blue."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from ..models.images import to_diffusion_range


def spread_timesteps(num_timesteps: int, count: int = 6) -> list[int]:
    """``count`` round timesteps from 0 on, spread over four fifths of [0, T): later there is little but noise."""
    return [int(t) for t in np.linspace(0, 0.8 * num_timesteps, count)]


def pca_colors(maps: Sequence[Tensor]) -> list[np.ndarray]:
    """Colour maps by their principal components, the same for all of ``maps``.

    Each of ``maps`` is centred and scaled by itself: what all images have in common at a timestep would outshine what
    they differ in.

    Args:
        maps: Feature maps ``(N, C, h, w)`` of one layer, one a timestep.

    Returns:
        list[np.ndarray]: ``(N, h, w, 3)``, uint8, for each of ``maps``.
    """
    tokens = [m.movedim(1, -1).flatten(0, 2) for m in maps]  # (N * h * w, C)
    centred = [t.float() - t.float().mean(0) for t in tokens]
    points = torch.cat([t / t.std().clamp_min(1e-12) for t in centred]).cpu().numpy()
    components = PCA(min(3, *points.shape), random_state=0).fit_transform(points)
    colors = np.zeros((len(points), 3))
    low, high = np.percentile(components, (2, 98), axis=0)
    colors[:, : components.shape[1]] = (components - low) / np.maximum(high - low, 1e-12)
    pixels = (colors.clip(0, 1) * 255).round().astype(np.uint8)
    parts = np.split(pixels, np.cumsum([len(t) for t in tokens])[:-1])
    return [part.reshape(m.shape[0], *m.shape[2:], 3) for part, m in zip(parts, maps, strict=True)]


@torch.no_grad()
def teacher_colors(
    model: nn.Module, inputs: Tensor, data_samples: list, timesteps: Sequence[int]
) -> dict[str, list[np.ndarray]]:
    """The teacher's features of each image at several timesteps.

    Args:
        model: A ``RepFusion``.
        inputs: Normalised images ``(N, 3, H, W)``.
        data_samples: Their labels, for a teacher that is told them.
        timesteps: Which to look at.

    Returns:
        dict[str, list[np.ndarray]]: ``layer -> (N, h, w, 3)``, uint8, for each timestep.
    """
    labels = None
    if model.teacher.class_conditioning.mode == 'true':
        labels = torch.cat([sample.gt_label for sample in data_samples]).to(inputs.device)
    images = to_diffusion_range(inputs, model.data_preprocessor)
    steps = [torch.full((len(images),), t, device=images.device) for t in timesteps]
    features = [model.teacher(images, t, labels) for t in steps]
    return {layer: pca_colors([f[layer] for f in features]) for layer in model.teacher.layers}


@torch.no_grad()
def student_colors(model: nn.Module, inputs: Tensor) -> list[np.ndarray]:
    """The student's features of normalised images ``(N, 3, H, W)``: ``(N, h, w, 3)``, uint8, one a teacher layer."""
    training = model.training
    model.eval()
    features = model.extract_feat(inputs)
    model.train(training)
    return [pca_colors([feature])[0] for feature in features]
