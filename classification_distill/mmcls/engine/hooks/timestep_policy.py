"""What a timestep policy needs of the runner, and a look at what it chooses."""

import json
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmpretrain.registry import HOOKS


def _unwrap(model):
    return model.module if is_model_wrapper(model) else model


@HOOKS.register_module()
class TimestepPolicyHook(Hook):
    """Tell the timestep policy how much of the training is done, for entropy bonus and range to decay."""

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        _unwrap(runner.model).timestep_policy.set_progress(runner.iter / runner.max_iters)


@HOOKS.register_module()
class TimestepHistogramHook(Hook):
    """Draw the timesteps chosen since the last time, by all processes, to the visualizer.

    The counts also go to ``timestep_histogram.jsonl`` in the work directory, a line each time.

    Args:
        interval: Iterations between two histograms.
        num_bins: Bars of the histogram.
    """

    def __init__(self, interval: int = 500, num_bins: int = 20):
        self.interval = interval
        self.num_bins = num_bins

    def before_train(self, runner) -> None:
        self._num_timesteps = _unwrap(runner.model).teacher.num_timesteps
        self._counts = torch.zeros(self.num_bins)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        bins = _unwrap(runner.model).last_timesteps.cpu() * self.num_bins // self._num_timesteps
        self._counts += torch.bincount(bins, minlength=self.num_bins)
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            counts, self._counts = self._counts, torch.zeros(self.num_bins)
            all_reduce(counts)
            if is_main_process():
                self._record(runner, counts.int().tolist())

    def _record(self, runner, counts: list[int]) -> None:
        step = runner.iter + 1
        with open(Path(runner.work_dir, 'timestep_histogram.jsonl'), 'a') as file:
            file.write(json.dumps({'iter': step, 'num_timesteps': self._num_timesteps, 'counts': counts}) + '\n')
        figure = Figure(figsize=(5, 2.5), layout='constrained')
        axes = figure.subplots()
        width = self._num_timesteps / self.num_bins
        axes.bar(np.arange(self.num_bins) * width, counts, width=width, align='edge')
        axes.set(xlabel='timestep', ylabel='images', title=f'timesteps chosen, up to iteration {step}')
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        runner.visualizer.add_image('timesteps', np.asarray(canvas.buffer_rgba())[..., :3].copy(), step=step)
