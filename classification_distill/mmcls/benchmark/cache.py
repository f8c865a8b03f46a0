"""Training of several epochs with the teacher's features kept, and without."""

import sys
import tempfile
import time
from pathlib import Path

from mmengine.config import Config

from ..engine.launch import build_runner
from .own_process import in_own_process
from .train import leave_only_training


def measure(config: Config) -> list[dict]:
    """Train the config's epochs each way, in a process of its own; nothing is kept.

    Args:
        config: A distillation config whose data set is held in memory, with or without ``model.feature_cache``.

    Returns:
        list[dict]: A row a way: ``way``, ``images_per_second``, ``ratio`` to the first, ``seconds`` of the training,
        ``cache_hits`` over all of it, ``disk`` bytes that the cache took, and the last epoch's mean ``loss``.
    """
    rows: list[dict] = []
    kept = dict(config.model.get('feature_cache') or {'views': 4}) | {'folder': None}  # one of this measurement
    for way, cache in (('features computed', None), (f'kept, {kept["views"]} views', kept)):
        print(f'{way}: training ...', file=sys.stderr)
        row = in_own_process(_train, config, cache)
        rows.append({'way': way, 'ratio': (rows[0] if rows else row)['seconds'] / row['seconds']} | row)
    return rows


def _train(config: Config, cache: dict | None) -> dict:
    config.model.feature_cache = cache
    leave_only_training(config)
    with tempfile.TemporaryDirectory() as folder:
        config.work_dir = folder
        runner = build_runner(config)
        start = time.perf_counter()
        runner.train()
        seconds = time.perf_counter() - start
        scalars = runner.message_hub.log_scalars
        hits = scalars['train/cache_hits'].mean() if cache else 0.0
        files = Path(runner.model.feature_cache.folder).glob('*.npy') if cache else ()
        return {
            'images_per_second': runner.iter * config.train_dataloader.batch_size / seconds,
            'seconds': seconds,
            'cache_hits': float(hits),
            'disk': sum(512 * file.stat().st_blocks for file in files),
            'loss': float(scalars['train/loss'].mean(len(runner.train_dataloader))),
        }
