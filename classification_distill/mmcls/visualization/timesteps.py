"""What a timestep policy chooses, as heat maps, and figures as pixels."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..datasets.samples import collect, has
from ..files import read_rows
from ..weights import unwrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

SHARE = 'timestep_share/'  # of the scalars that the hook logs


def read_histogram(path: Path) -> list[dict]:
    """The rows of a ``timestep_histogram.jsonl``, one an interval: a run that was resumed has written some twice."""
    return list({row['iter']: row for row in read_rows(path)}.values())


def draw_through_training(axes: 'Axes', shares: np.ndarray, last_iter: int, num_timesteps: int) -> 'AxesImage':
    """Draw the share of images that each timestep is chosen for, ``(intervals, bins)``, as a heat map."""
    extent = (0, last_iter, 0, num_timesteps)
    axes.set(xlabel='iteration', ylabel='timestep t')
    return axes.imshow(shares.T, origin='lower', aspect='auto', extent=extent, vmin=0, interpolation='nearest')


def draw_by_class(axes: 'Axes', shares: np.ndarray, classes: list[str], num_timesteps: int) -> 'AxesImage':
    """Draw the share of a class's images that each timestep is chosen for, ``(classes, bins)``, as a heat map."""
    extent = (0, num_timesteps, len(classes) - 0.5, -0.5)
    axes.set(xlabel='timestep t', ylabel='class')
    if len(classes) <= 30:
        axes.set_yticks(range(len(classes)), classes, parse_math=False)
    return axes.imshow(shares, aspect='auto', extent=extent, vmin=0, interpolation='nearest')


def shares_of(counts: np.ndarray) -> np.ndarray:
    """Counts ``(rows, bins)`` as shares of their row; rows without any are 0."""
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def rasterize(figure: 'Figure') -> np.ndarray:
    """The figure as a visualizer takes it: RGB pixels ``(h, w, 3)``, uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@HOOKS.register_module()
class TimestepHistogramHook(Hook):
    """Draw the timesteps chosen to the visualizer: through training, and by class since the last time.

    The counts are those of all processes; an image that Mixup or CutMix has mixed counts for the class of its label.
    They also go to ``timestep_histogram.jsonl`` in the work directory, a line each time, and as
    ``timestep_share/<first t of the bin>`` to the visualizer's scalars.

    Args:
        interval: Iterations between two pictures.
        num_bins: Equal ranges of timesteps, no more than there are timesteps; each of the 20 has one that
            ``ReinforcePolicy`` by default chooses from.
    """

    def __init__(self, interval: int = 500, num_bins: int = 20):
        self.interval = interval
        self.num_bins = num_bins

    def before_train(self, runner) -> None:
        self._num_timesteps = unwrap(runner.model).teacher.num_timesteps
        num_bins = min(self.num_bins, self._num_timesteps)
        self._firsts = torch.arange(num_bins) * self._num_timesteps // num_bins  # the first t of each range
        self._classes = list(runner.train_dataloader.dataset.metainfo.get('classes') or ())
        self._counts = self._no_counts()
        if runner.iter == 0 and is_main_process():  # of an earlier run in the same folder
            Path(runner.work_dir, 'timestep_histogram.jsonl').unlink(missing_ok=True)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        # Counted where they are: to ask for them in each step would let the device wait.
        timesteps = unwrap(runner.model).last_timesteps
        self._firsts, self._counts = (tensor.to(timesteps.device) for tensor in (self._firsts, self._counts))
        bins = torch.bucketize(timesteps, self._firsts, right=True) - 1
        labels, samples = torch.zeros_like(bins), data_batch['data_samples']
        if self._classes and has(samples, 'gt_label'):  # classes may be those of pixels
            labels = collect(samples, 'gt_label').to(timesteps.device, non_blocking=True)
        else:
            self._classes = []
        self._counts.index_put_((labels, bins), torch.ones(len(bins), device=bins.device), accumulate=True)
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            counts, self._counts = self._counts, self._no_counts()
            all_reduce(counts)
            if is_main_process():
                self._record(runner, counts.cpu().numpy())

    def _no_counts(self) -> torch.Tensor:
        return torch.zeros(max(1, len(self._classes)), len(self._firsts))

    def _record(self, runner, counts: np.ndarray) -> None:
        """Write counts ``(classes, bins)`` and draw them."""
        step, path = runner.iter + 1, Path(runner.work_dir, 'timestep_histogram.jsonl')
        totals = counts.sum(0).astype(int).tolist()
        with open(path, 'a') as file:
            file.write(json.dumps({'iter': step, 'num_timesteps': self._num_timesteps, 'counts': totals}) + '\n')
        shares = shares_of(counts.sum(0, keepdims=True))[0].tolist()
        shares_by_t = zip(self._firsts.tolist(), shares, strict=True)
        runner.visualizer.add_scalars({f'{SHARE}{t}': share for t, share in shares_by_t}, step)
        history = shares_of(np.array([row['counts'] for row in read_histogram(path)]))
        self._draw(runner, 'timesteps', draw_through_training, history, step)
        if self._classes:
            self._draw(runner, 'timesteps_by_class', draw_by_class, shares_of(counts), self._classes)

    def _draw(self, runner, name: str, draw: Callable, *arguments) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 3), layout='constrained')
        figure.colorbar(draw(figure.subplots(), *arguments, self._num_timesteps), label='share of images')
        runner.visualizer.add_image(name, rasterize(figure), step=runner.iter + 1)
