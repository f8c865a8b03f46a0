"""Feature maps as pictures: the three directions in which they vary most are red, green and blue."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch import Tensor, nn
from torchvision.utils import make_grid

from ..datasets.samples import collect
from ..models.images import to_diffusion_range, to_pixels
from ..weights import unwrap
from .timesteps import rasterize


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
    components = _principal_components(torch.cat([t / t.std().clamp_min(1e-12) for t in centred]))
    colors = np.zeros((len(components), 3))
    low, high = np.percentile(components, (2, 98), axis=0)
    colors[:, : components.shape[1]] = (components - low) / np.maximum(high - low, 1e-12)
    pixels = (colors.clip(0, 1) * 255).round().astype(np.uint8)
    parts = np.split(pixels, np.cumsum([len(t) for t in tokens])[:-1])
    return [part.reshape(m.shape[0], *m.shape[2:], 3) for part, m in zip(parts, maps, strict=True)]


def _principal_components(points: Tensor, count: int = 3) -> np.ndarray:
    """Coordinates ``(N, count)`` of ``points (N, C)`` along the directions of their largest variances."""
    points = points.double().cpu() if points.device.type == 'mps' else points.double()
    points = points - points.mean(0)
    directions = torch.linalg.eigh(points.T @ points).eigenvectors.flip(1)[:, :count]  # of ascending variances
    # An eigenvector's sign is arbitrary: its largest entry is positive.
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return (points @ (directions * largest.sign())).cpu().numpy()


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
        labels = collect(data_samples, 'gt_label').to(inputs.device)
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


TILE = 64  # pixels


@HOOKS.register_module()
class FeaturePictureHook(Hook):
    """Draw a few images to the visualizer, with the teacher's features at several timesteps and the student's.

    The images are the first of the run, or after a resumption those that come first then. Beside each is the timestep
    that a policy that learns would choose for it.

    Args:
        interval: Epochs between two pictures; there is one before the first epoch and one after the last.
        num_images: Rows of a picture.
        num_timesteps: The teacher's columns of a picture.
    """

    def __init__(self, interval: int = 10, num_images: int = 6, num_timesteps: int = 5):
        self.interval = interval
        self.num_images = num_images
        self.num_timesteps = num_timesteps
        self._batch = None

    @master_only
    def before_train_iter(self, runner, batch_idx: int, data_batch: dict) -> None:
        if self._batch is None:
            self._batch = {key: values[: self.num_images] for key, values in data_batch.items()}
            if runner.iter == 0:
                self._draw(runner, 0)

    @master_only
    def after_train_epoch(self, runner) -> None:
        due = self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)
        if due and self._batch is not None:  # resumed at the end of an epoch, there is none
            self._draw(runner, runner.iter)

    @torch.no_grad()
    def _draw(self, runner, step: int) -> None:
        model = unwrap(runner.model)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):  # a teacher may draw noise, and the training shall not notice
            batch = model.data_preprocessor(self._batch)
            inputs, data_samples = batch['inputs'], batch['data_samples']
            timesteps = spread_timesteps(model.teacher.num_timesteps, self.num_timesteps)
            images = to_pixels(inputs, model.data_preprocessor).byte().movedim(1, -1).cpu().numpy()
            layers = teacher_colors(model, inputs, data_samples, timesteps)
        titles = ['image', *(f't = {t}' for t in timesteps), 'student']
        choices = _choices(model, inputs)
        for (layer, teacher), student in zip(layers.items(), student_colors(model, inputs), strict=True):
            picture = draw_grid([images, *teacher, student], titles, choices)
            runner.visualizer.add_image(f'features_{layer}', picture, step=step)


def _choices(model, inputs: torch.Tensor) -> list[str]:
    if not model.timestep_policy.learns:
        return [''] * len(inputs)
    distribution = model.timestep_policy.distribution(to_diffusion_range(inputs, model.data_preprocessor))
    return [f'chosen\nt = {t}' for t in model.timestep_policy.grid[distribution.probs.argmax(1)].tolist()]


def draw_grid(columns: Sequence[np.ndarray], titles: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Columns of pictures ``(N, h, w, 3)`` under their titles, a label a row, as one picture."""
    tiles = [F.interpolate(torch.from_numpy(column).movedim(-1, 1), (TILE, TILE)) for column in columns]
    grid = make_grid(torch.stack(tiles, 1).flatten(0, 1), len(columns), padding=2).movedim(0, -1).numpy()
    from matplotlib.figure import Figure

    rows = len(labels)
    width, height = 0.8 + 0.9 * len(columns), 0.4 + 0.9 * rows  # inches; the same whatever the labels say
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.8 / width, 0, 1 - 0.8 / width, 1 - 0.4 / height))
    axes.imshow(grid)
    axes.set_xticks([(TILE + 2) * (i + 0.5) for i in range(len(columns))], titles)
    axes.set_yticks([(TILE + 2) * (i + 0.5) for i in range(rows)], labels)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    return rasterize(figure)
