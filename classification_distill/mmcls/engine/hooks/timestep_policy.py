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
        self._num_timesteps = _unwrap(runner.model).teacher.num_timesteps
        num_bins = min(self.num_bins, self._num_timesteps)
        self._firsts = torch.arange(num_bins) * self._num_timesteps // num_bins  # the first t of each range
        self._classes = list(runner.train_dataloader.dataset.metainfo.get('classes') or ())
        self._counts = self._no_counts()
        if runner.iter == 0 and is_main_process():  # of an earlier run in the same folder
            Path(runner.work_dir, 'timestep_histogram.jsonl').unlink(missing_ok=True)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        bins = torch.bucketize(_unwrap(runner.model).last_timesteps.cpu(), self._firsts, right=True) - 1
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
        return torch.zeros(max(1, len(self._classes)), len(self._firsts))

    def _record(self, runner, counts: np.ndarray) -> None:
        """Write counts ``(classes, bins)`` and draw them."""
        step, path = runner.iter + 1, Path(runner.work_dir, 'timestep_histogram.jsonl')
        totals = counts.sum(0).astype(int).tolist()
        with open(path, 'a') as file:
            file.write(json.dumps({'iter': step, 'num_timesteps': self._num_timesteps, 'counts': totals}) + '\n')
        shares = shares_of(counts.sum(0, keepdims=True))[0].tolist()
        shares_by_t = zip(self._firsts.tolist(), shares, strict=True)
        runner.visualizer.add_scalars({f'timestep_share/{t}': share for t, share in shares_by_t}, step)
        history = shares_of(np.array([row['counts'] for row in read_histogram(path)]))
        self._draw(runner, 'timesteps', draw_through_training, history, step)
        if self._classes:
            self._draw(runner, 'timesteps_by_class', draw_by_class, shares_of(counts), self._classes)

    def _draw(self, runner, name: str, draw: Callable, *arguments) -> None:
        figure = Figure(figsize=(5, 3), layout='constrained')
        figure.colorbar(draw(figure.subplots(), *arguments, self._num_timesteps), label='share of images')
        runner.visualizer.add_image(name, rasterize(figure), step=runner.iter + 1)
