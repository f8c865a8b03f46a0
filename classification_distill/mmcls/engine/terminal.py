"""A Runner for whoever watches: one line that moves or, in a pipe, comes twice a minute; the full log in its file."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from numbers import Real
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.logging.logger import FilterDuplicateWarning
from mmengine.runner import Runner
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from ..progress import PIPE_INTERVAL

# What the line shows of all that is logged, and under which name.
FIGURES = {
    'train/loss': 'loss',
    'train/reward': 'reward',
    'train/timestep_mean': 'mean t',
    'val/accuracy/top1': 'accuracy',
    'val/mIoU': 'mIoU',
    'val/NME': 'NME',
}
# ``logger.info(..., extra=AT_TERMINAL)`` reaches the terminal, too.
AT_TERMINAL = {'at_terminal': True}


def is_watched() -> bool:
    """Whether this process is the one, of all processes of the run, that says how it goes.

    Asked before the processes find each other, so it is the launcher that tells.
    """
    return (os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or '0') == '0'


class MovingLine:
    """Progress at a terminal."""

    def __init__(self, console: Console):
        self._progress = Progress(
            TextColumn('{task.description}', markup=False),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn('{task.fields[figures]}', markup=False),
            console=console,
            refresh_per_second=2,
        )
        self._task = self._progress.add_task('starting', total=None, figures='')

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_) -> None:
        self._progress.stop()

    def show(self, what: str, completed: int, total: int, figures: str) -> None:
        self._progress.update(self._task, description=what, completed=completed, total=total, figures=figures)


class RepeatedLine(nullcontext):
    """Progress in a pipe: a line at the beginning, at the end, and every ``PIPE_INTERVAL`` seconds."""

    def __init__(self):
        super().__init__()
        self._next = 0.0

    def show(self, what: str, completed: int, total: int, figures: str) -> None:
        if completed == total or time.monotonic() >= self._next:
            self._next = time.monotonic() + PIPE_INTERVAL
            print(f'{what}  {completed / total:4.0%}  {figures}', flush=True)


class WatchedRunner(Runner):
    """MMEngine's Runner with a line of progress where its log would be."""

    def __init__(self, *args, **kwargs):
        self.console = Console()
        self.line = MovingLine(self.console) if self.console.is_terminal else RepeatedLine()
        super().__init__(*args, **kwargs)
        self.register_hook(ProgressHook(self.line), priority='LOWEST')

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """As MMEngine's; beside the line are warnings, errors, and what is marked for it."""
        logger = super().build_logger(*args, **kwargs)
        handler, *files = logger.handlers
        if self.console.is_terminal:
            handler = RichHandler(logging.INFO, self.console, show_time=False, show_path=False)
        handler.addFilter(lambda record: record.levelno >= logging.WARNING or hasattr(record, 'at_terminal'))
        handler.addFilter(FilterDuplicateWarning('mmengine'))
        # What the libraries warn each other of, nobody who watches can mend.
        handler.addFilter(lambda record: 'deprecated' not in record.getMessage())
        logger.handlers = [handler, *files]
        return logger

    def train(self):
        """Train; however that ends, the terminal is left as it was."""
        self._say_what('Training')
        with self.line:
            model = super().train()
        self._say(f'Done: {self.work_dir}')
        return model

    def test(self) -> dict[str, float]:
        """Test, and print the metrics."""
        self._say_what('Testing')
        with self.line:
            metrics = super().test()
        for name, value in metrics.items():
            self._say(f'{name}: {value:.4f}' if isinstance(value, Real) else f'{name}: {value}')
        return metrics

    def _say_what(self, what: str) -> None:
        self._say(f'{what}; the log is {Path(self.log_dir, self.timestamp)}.log')

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class ProgressHook(Hook):
    """Move the line of training, validation or test.

    Args:
        line: Shows it.
    """

    def __init__(self, line: MovingLine | RepeatedLine):
        self.line = line

    def before_train(self, runner) -> None:
        self._left = ''  # resumed at the end of an epoch, no iteration comes before its validation
        if runner.iter:
            runner.logger.info(f'Resuming after iteration {runner.iter}.', extra=AT_TERMINAL)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._left = f'{_time_left(runner)} left'
        self._show_training(runner, runner.iter + 1, runner.epoch + 1)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._show(runner, 'validation', batch_idx + 1, len(runner.val_dataloader), f'{_time_left(runner)} left')

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        self._show_training(runner, runner.iter, runner.epoch)

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._show(runner, 'test', batch_idx + 1, len(runner.test_dataloader), f'{_time_left(runner)} left')

    def _show_training(self, runner, iteration: int, epoch: int) -> None:
        what = _count('epoch', epoch, runner.max_epochs)
        if runner.max_epochs == 1:  # so it is of any training by iterations
            what = _count('iteration', iteration, runner.max_iters)
        self._show(runner, what, iteration, runner.max_iters, self._left)

    def _show(self, runner, what: str, completed: int, total: int, left: str) -> None:
        figures = '  '.join(filter(None, [left, *_figures(runner)]))
        self.line.show(what, completed, total, figures)


def _count(what: str, number: int, total: int) -> str:
    return f'{what} {number:{len(str(total))}}/{total}'


def _time_left(runner) -> str:
    return str(timedelta(seconds=round(runner.message_hub.get_info('eta'))))


def _figures(runner) -> Iterator[str]:
    for key, name in FIGURES.items():
        history = runner.message_hub.log_scalars.get(key)
        if history is not None:
            value = history.mean(10) if key.startswith('train/') else history.current()
            yield f'{name} {value:.4g}'
