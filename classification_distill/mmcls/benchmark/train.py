"""Whole training through the runner, data loading included, the published way and ours."""

import multiprocessing
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor

from mmengine.config import Config

from ..configs import training_set
from ..engine.launch import build_runner
from .published import PublishedTeacher  # noqa: F401
from .step import PUBLISHED, adapt, ways

WARM_UP = 3


def measure(config: Config, iterations: int) -> list[dict]:
    """Train ``iterations`` iterations each way, in a process of its own; nothing is kept.

    Returns:
        list[dict]: A row a way: ``way``, ``images_per_second``, ``ratio`` to the published way, ``data_share`` of the
        time spent waiting for data, and ``seconds``, every iteration's.
    """
    rows = []
    for name in (PUBLISHED, next(iter(ways()))):
        print(f'{name}: training ...', file=sys.stderr)
        # Not a Pool, whose processes may have no children and so no data loading workers.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as pool:
            seconds, waiting, batch_size = pool.submit(_train, config, name, iterations).result()
        median = statistics.median(seconds)
        rows.append({
            'way': name,
            'images_per_second': batch_size / median,
            'ratio': statistics.median(rows[0]['seconds'] if rows else seconds) / median,
            'data_share': sum(waiting) / sum(seconds),
            'seconds': seconds,
        })  # fmt: skip
    return rows


def _train(config: Config, way: str, iterations: int) -> tuple[list[float], list[float], int]:
    config.model = adapt(config.model.to_dict(), way)
    if way == PUBLISHED:  # else as on any machine
        config.optim_wrapper.setdefault('type', 'OptimWrapper')
        config.optim_wrapper.optimizer.setdefault('fused', False)
    batch_size = config.train_dataloader.batch_size
    training_set(config)['indices'] = (iterations + WARM_UP) * batch_size
    config.train_cfg = {'by_epoch': True, 'max_epochs': 1}
    for name in ('val', 'test'):
        config.update({f'{name}_dataloader': None, f'{name}_cfg': None, f'{name}_evaluator': None})
    config.default_hooks.checkpoint = None
    config.visualizer.vis_backends = []
    config.launcher = 'none'
    with tempfile.TemporaryDirectory() as folder:
        config.work_dir = folder
        runner = build_runner(config)
        runner.train()
        scalars = runner.message_hub.log_scalars
        seconds, waiting = (scalars[f'train/{name}'].data[0][WARM_UP:].tolist() for name in ('time', 'data_time'))
    return seconds, waiting, batch_size
