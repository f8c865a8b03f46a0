"""What a timestep policy chooses, as heat maps, and figures as pixels."""

import json
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage


def read_histogram(path: Path) -> list[dict]:
    """The rows of a ``timestep_histogram.jsonl``, one an interval: a run that was resumed has written some twice."""
    whole_lines = path.read_text().rpartition('\n')[0].splitlines()
    return list({row['iter']: row for row in map(json.loads, whole_lines)}.values())


def draw_through_training(axes: Axes, shares: np.ndarray, last_iter: int, num_timesteps: int) -> AxesImage:
    """Draw the share of images that each timestep is chosen for, ``(intervals, bins)``, as a heat map."""
    extent = (0, last_iter, 0, num_timesteps)
    axes.set(xlabel='iteration', ylabel='timestep t')
    return axes.imshow(shares.T, origin='lower', aspect='auto', extent=extent, vmin=0, interpolation='nearest')


def draw_by_class(axes: Axes, shares: np.ndarray, classes: list[str], num_timesteps: int) -> AxesImage:
    """Draw the share of a class's images that each timestep is chosen for, ``(classes, bins)``, as a heat map."""
    extent = (0, num_timesteps, len(classes) - 0.5, -0.5)
    axes.set(xlabel='timestep t', ylabel='class')
    if len(classes) <= 30:
        axes.set_yticks(range(len(classes)), classes, parse_math=False)
    return axes.imshow(shares, aspect='auto', extent=extent, vmin=0, interpolation='nearest')


def shares_of(counts: np.ndarray) -> np.ndarray:
    """Counts ``(rows, bins)`` as shares of their row; rows without any are 0."""
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def rasterize(figure: Figure) -> np.ndarray:
    """The figure as a visualizer takes it: RGB pixels ``(h, w, 3)``, uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
