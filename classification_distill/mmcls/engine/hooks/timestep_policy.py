"""A look at what a timestep policy chooses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmpretrain.registry import HOOKS

from ..pictures import draw_by_class, draw_through_training, rasterize, read_histogram, shares_of


def _unwrap(model):
    return model.module if is_model_wrapper(model) else model


@HOOKS.register_module()
class TimestepHistogramHook(Hook):
    """Draw the timesteps chosen to the visualizer: through training, and by class since the last time.

    The counts are those of all processes. They also go to ``timestep_histogram.jsonl`` in the work directory, a line
    each time, and as ``timestep_share/<first t of the bin>`` to the visualizer's scalars.

    Args:
        interval: Iterations between two pictures.
        num_bins: Bins of the timesteps; 20 are the grid points of ``ReinforcePolicy``'s default.
    """

    def __init__(self, interval: int = 500, num_bins: int = 20):
        self.interval = interval
        self.num_bins = num_bins

    def before_train(self, runner) -> None:
        self._num_timesteps = _unwrap(runner.model).teacher.num_timesteps
        self._classes = list(runner.train_dataloader.dataset.metainfo.get('classes') or ())
        self._counts = self._no_counts()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        bins = _unwrap(runner.model).last_timesteps.cpu() * self.num_bins // self._num_timesteps
        labels, samples = torch.zeros_like(bins), data_batch['data_samples']
        if self._classes and all('gt_label' in sample for sample in samples):  # classes may be those of pixels
            labels = torch.cat([sample.gt_label for sample in samples]).cpu()
        else:
            self._classes = []
        self._counts.index_put_((labels, bins), torch.ones(len(bins)), accumulate=True)
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            counts, self._counts = self._counts, self._no_counts()
            all_reduce(counts)
            if is_main_process():
                self._record(runner, counts.numpy())

    def _no_counts(self) -> torch.Tensor:
        return torch.zeros(max(1, len(self._classes)), self.num_bins)

    def _record(self, runner, counts: np.ndarray) -> None:
        """Write counts ``(classes, bins)`` and draw them."""
        step, path = runner.iter + 1, Path(runner.work_dir, 'timestep_histogram.jsonl')
        totals = counts.sum(0).astype(int).tolist()
        with open(path, 'a') as file:
            file.write(json.dumps({'iter': step, 'num_timesteps': self._num_timesteps, 'counts': totals}) + '\n')
        shares = shares_of(counts.sum(0, keepdims=True))[0].tolist()
        firsts = [index * self._num_timesteps // self.num_bins for index in range(self.num_bins)]
        runner.visualizer.add_scalars({f'timestep_share/{t}': s for t, s in zip(firsts, shares, strict=True)}, step)
        history = shares_of(np.array([row['counts'] for row in read_histogram(path)]))
        self._draw(runner, 'timesteps', draw_through_training, history, step)
        if self._classes:
            self._draw(runner, 'timesteps_by_class', draw_by_class, shares_of(counts), self._classes)

    def _draw(self, runner, name: str, draw: Callable, *arguments) -> None:
        figure = Figure(figsize=(5, 3), layout='constrained')
        figure.colorbar(draw(figure.subplots(), *arguments, self._num_timesteps), label='share of images')
        runner.visualizer.add_image(name, rasterize(figure), step=runner.iter + 1)
