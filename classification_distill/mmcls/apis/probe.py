"""What a diffusion model knows, layer by layer and timestep by timestep: linear and k-nearest-neighbour probes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..engine.representation import linear_classifier
from ..errors import UnusableInputError
from ..models.images import as_batch, check_diffusion_range
from ..models.teachers import BaseTeacher
from ..models.teachers.literature import found_layers
from ..progress import ProgressBar
from .teacher import load_teacher

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
TIMESTEPS = (0, 50, 100, 200, 300, 400, 600, 800)

Labelled = tuple[Tensor, Tensor]  # pixels (N, 3, H, W) from 0 to 255, uint8 where the images are, and labels (N,)


def probe(
    teacher: str | BaseTeacher,
    train: Sequence[tuple],
    test: Sequence[tuple],
    layers: list[str] | None = None,
    timesteps: Sequence[int] = TIMESTEPS,
    batch_size: int = 64,
) -> list[dict]:
    """Fit linear and 10-nearest-neighbour (cosine) probes on pooled, standardised features.

    Args:
        teacher: What ``load_teacher`` takes or gives.
        train: ``(image, class)`` pairs to fit the probes on, such as a torchvision data set; images as ``as_batch``
            takes them.
        test: Pairs to test them on: every other one to choose the best row by, the rest to say how good that one is.
        layers: Layers to probe, where the teacher is not loaded yet; by default every residual or transformer block,
            and what the literature found besides.
        timesteps: Timesteps to probe.
        batch_size: Images of one pass through the teacher.

    Returns:
        list[dict]: A row a layer and timestep: ``layer``, ``timestep``, ``channels``, ``stride``; the accuracy in % of
        both probes on the images that choose, ``linear`` and ``knn``; that of the linear one on the others,
        ``held_out``; and in ``literature`` what others found the layer best for. The best of many rows reads too high
        on the images that it was chosen by.

    Raises:
        ValueError: When a layer or a timestep is not the teacher's, or there are fewer than two images to test on.

    Examples:
        >>> rows = probe('google/ddpm-cifar10-32', train, test, timesteps=[0, 100])
        >>> max(rows, key=lambda row: row['linear'])['layer']
        'up_blocks.1.resnets.1'
    """
    if not isinstance(teacher, BaseTeacher):
        teacher = load_teacher(teacher, layers or 'blocks').to(DEVICE)
    check_timesteps(teacher, timesteps)
    if len(test) < 2:
        raise UnusableInputError(f'{len(test)} images to test on: expected two or more.')
    splits = [_collect(pairs, teacher.sample_size) for pairs in (train, test)]
    with progress_bar(splits, timesteps) as bar:
        return [row for t in timesteps for row in probe_timestep(teacher, splits, t, batch_size, bar)]


def check_timesteps(teacher: BaseTeacher, timesteps: Sequence[int]) -> None:
    if wrong := [t for t in timesteps if not 0 <= t < teacher.num_timesteps]:
        raise UnusableInputError(f'timesteps {wrong}: expected 0 to {teacher.num_timesteps - 1}.')


def _collect(pairs: Sequence[tuple], size: tuple[int, int]) -> Labelled:
    images, labels = zip(*(pairs[index] for index in range(len(pairs))), strict=True)
    pixels = [(255 * as_batch(image, size)).round().to(torch.uint8) for image in images]  # a quarter of the memory
    return torch.cat(pixels), torch.as_tensor(labels)


def progress_bar(splits: Sequence[Labelled], timesteps: Sequence[int]) -> ProgressBar:
    return ProgressBar(total=len(timesteps) * sum(len(labels) for _, labels in splits), unit='image')


def probe_timestep(
    teacher: BaseTeacher, splits: Sequence[Labelled], t: int, batch_size: int, bar: ProgressBar
) -> list[dict]:
    """The rows of one timestep, one a layer."""
    bar.set_description(f't = {t}')
    torch.manual_seed(t)  # a resumed run then draws the noise that an uninterrupted one draws
    train, test = (_extract(teacher, images, labels, t, batch_size, bar) for images, labels in splits)
    rows, (_, labels), (_, truth) = [], *splits
    found = found_layers(teacher.family)
    for layer, (channels, stride) in teacher.feature_info.items():
        linear, knn = fit_probes(train[layer], labels.numpy())
        choosing, held_out = ((test[layer][start::2], truth[start::2].numpy()) for start in (0, 1))
        scores = {'linear': linear.score(*choosing), 'knn': knn.score(*choosing), 'held_out': linear.score(*held_out)}
        percent = {name: round(100 * score, 2) for name, score in scores.items()}
        where = {'layer': layer, 'timestep': t, 'channels': channels, 'stride': stride}
        rows.append(where | percent | {'literature': found.get(layer, '')})
    return rows


def _extract(
    teacher: BaseTeacher, images: Tensor, labels: Tensor, t: int, batch_size: int, bar: ProgressBar
) -> dict[str, np.ndarray]:
    """Pooled features ``(images, C)`` of every layer at one timestep, in one pass."""
    device = next(teacher.network.parameters()).device
    parts = []
    for pixels, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        pixels, truth = pixels.to(device).float() / 127.5 - 1, truth.to(device)
        check_diffusion_range(pixels)
        features = teacher(pixels, torch.full_like(truth, t), truth, pooled=True)
        parts.append({layer: feature.flatten(1).cpu() for layer, feature in features.items()})
        bar.update(len(pixels))
    return {layer: torch.cat([part[layer] for part in parts]).numpy() for layer in teacher.layers}


def fit_probes(features: np.ndarray, labels: np.ndarray) -> tuple['Pipeline', 'Pipeline']:
    """A linear and a 10-nearest-neighbour (cosine) probe on standardised features."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    neighbors = KNeighborsClassifier(min(10, len(features)), metric='cosine')
    linear, knn = linear_classifier(), make_pipeline(StandardScaler(), neighbors)
    return linear.fit(features, labels), knn.fit(features, labels)
