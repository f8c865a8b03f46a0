"""Hooks for runs on several nodes; the tests name this file in custom_imports."""

import json
import os
import time
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class RankRecordHook(Hook):
    """Write the losses of each rank, and its node, to ``<work_dir>/rank<N>.json``."""

    def before_train(self, runner):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append([value.item() for key, value in sorted(outputs.items()) if 'loss' in key])

    def after_train(self, runner):
        record = {'losses': self.losses, 'node': os.environ.get('SLURMD_NODENAME')}
        Path(runner.work_dir, f'rank{get_rank()}.json').write_text(json.dumps(record))


@HOOKS.register_module()
class SlowStartHook(Hook):
    """Two seconds an iteration, until Slurm has started the job again."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 3:
            Path(runner.work_dir, 'slow').touch()
        if runner.iter >= 3 and os.environ.get('SLURM_RESTART_COUNT', '0') == '0':
            time.sleep(2)
