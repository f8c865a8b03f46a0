"""Whole training through the runner, data loading included, the published way and ours."""

import statistics
import sys
import tempfile
import time

import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from ..engine.launch import build_runner
from ..models.teachers.execution import GraphReplay
from .own_process import in_own_process
from .published import PublishedTeacher  # noqa: F401
from .step import PUBLISHED, adapt, ways

WARM_UP = 3
PROFILED = 20  # iterations, on a GPU


def measure(config: Config, iterations: int) -> list[dict]:
    """Train ``iterations`` iterations each way, in a process of its own, on the config's data; nothing is kept.

    Returns:
        list[dict]: A row a way: ``way``, ``images_per_second``, ``ratio`` to the published way, ``data_share`` of the
        time spent between steps, in which data are fetched and hooks run, ``seconds``, every iteration's, and on a GPU
        ``idle_share`` of the time, over further iterations, and ``peak_memory`` in bytes.
    """
    rows = []
    for name in (PUBLISHED, next(iter(ways()))):
        print(f'{name}: training ...', file=sys.stderr)
        seconds, waiting, batch_size, device = in_own_process(_train, config, name, iterations)
        median = statistics.median(seconds)
        rows.append({
            'way': name,
            'images_per_second': batch_size / median,
            'ratio': statistics.median(rows[0]['seconds'] if rows else seconds) / median,
            'data_share': sum(waiting) / sum(seconds),
            'seconds': seconds,
            **device,
        })  # fmt: skip
    return rows


def _train(config: Config, way: str, iterations: int) -> tuple[list[float], list[float], int, dict]:
    config.model = adapt(config.model.to_dict(), way)
    if way == PUBLISHED:  # else as on any machine
        config.optim_wrapper.setdefault('type', 'OptimWrapper')
        config.optim_wrapper.optimizer.setdefault('fused', False)
    batch_size = config.train_dataloader.batch_size
    on_gpu = torch.cuda.is_available()
    warm_up = GraphReplay.warm_up + 10 if on_gpu else WARM_UP
    total = warm_up + iterations + (PROFILED if on_gpu else 0)
    config.train_dataloader.sampler = {'type': 'InfiniteSampler', 'shuffle': True}
    config.train_cfg = {'by_epoch': False, 'max_iters': total}
    config.default_hooks.logger.log_metric_by_epoch = False
    config.log_processor = {'by_epoch': False}
    leave_only_training(config)
    with tempfile.TemporaryDirectory() as folder:
        config.work_dir = folder
        runner = build_runner(config)
        idle = IdleHook(warm_up + iterations)
        if on_gpu:
            runner.register_hook(idle, priority='LOWEST')
        runner.train()
        scalars = runner.message_hub.log_scalars
        measured = slice(warm_up, warm_up + iterations)
        seconds, waiting = (scalars[f'train/{name}'].data[0][measured].tolist() for name in ('time', 'data_time'))
    device = {'idle_share': idle.share, 'peak_memory': torch.cuda.max_memory_allocated()} if on_gpu else {}
    return seconds, waiting, batch_size, device


def leave_only_training(config: Config) -> None:
    """Take out of a config what a training does besides: validation, tests, checkpoints and pictures."""
    for name in ('val', 'test'):
        config.update({f'{name}_dataloader': None, f'{name}_cfg': None, f'{name}_evaluator': None})
    config.default_hooks.checkpoint = None
    config.visualizer.vis_backends = []
    config.launcher = 'none'


class IdleHook(Hook):
    """Measure for how much of the last iterations the GPU computed nothing.

    Args:
        start: Iteration after which to look.

    Attributes:
        share (float): Of the time, once the training is over.
    """

    def __init__(self, start: int):
        self.start = start

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.start:
            torch.cuda.synchronize()
            self._profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self._profile.start()
            self._began = time.perf_counter()

    def after_train(self, runner) -> None:
        torch.cuda.synchronize()
        wall = time.perf_counter() - self._began
        self._profile.stop()
        events = [e for e in self._profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
        busy = end = 0.0  # microseconds; kernels of several streams overlap
        for event in sorted(events, key=lambda event: event.time_range.start):
            busy += max(0.0, event.time_range.end - max(event.time_range.start, end))
            end = max(end, event.time_range.end)
        self.share = 1 - busy / 1e6 / wall
