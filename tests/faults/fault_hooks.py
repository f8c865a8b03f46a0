"""Faults that happen at a given iteration of a real run."""

import os
import signal
import time
from pathlib import Path

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class FaultHook(Hook):
    """Let something happen as iteration number ``iteration`` (from 1) of rank ``rank`` begins, 0 for before training.

    Args:
        fault: A signal's name, which the process then sends itself; ``wait``, until the file ``<work_dir>/go`` is
            there; ``no_number``, which is the loss of the task head in this step;
            ``spoil``, by which a weight becomes infinite as the iteration ends.
    """

    def __init__(self, fault: str, iteration: int, rank: int = 0):
        self.fault = fault
        self.iteration = iteration
        self.rank = rank

    def before_run(self, runner):
        if self.iteration == 0:
            os.kill(os.getpid(), getattr(signal, self.fault))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.fault == 'spoil' and runner.iter + 1 == self.iteration:
            next(runner.model.parameters()).data.fill_(torch.inf)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 != self.iteration or get_rank() != self.rank or self.fault == 'spoil':
            return
        if self.fault == 'wait':
            Path(runner.work_dir, 'waits').touch()
            while not Path(runner.work_dir, 'go').exists():
                time.sleep(0.05)
        elif self.fault == 'no_number':
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            loss = model.task_head.loss

            def nan_once(*args):
                model.task_head.loss = loss
                return loss(*args) * torch.nan

            model.task_head.loss = nan_once
        else:
            os.kill(os.getpid(), getattr(signal, self.fault))
