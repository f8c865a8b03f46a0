"""Commands that build on each other, one after the other: what is finished is skipped, what was interrupted goes on."""

import ctypes
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..configs import load_config
from ..engine.stopping import EXIT_CODE, StoppedError
from ..errors import MissingFileError, RepFusionError
from ..files import write_text

AGAIN = 'Fix this and run the same command again.'
RESUME = 'Run the same command again to resume; finished steps are skipped.'


class StepError(RepFusionError, RuntimeError):
    """A command that failed, or was interrupted."""


@dataclass
class Training:
    """A config of a tree and where its training ends.

    Attributes:
        tree: Folder that commands run in: the one that holds ``configs``.
        path: Config file, relative to ``tree`` or absolute.
        config: The loaded config.
        work_dir: Work directory, relative to ``tree`` or absolute.
    """

    tree: Path
    path: str
    config: Config
    work_dir: str

    @classmethod
    def from_file(cls, path: str) -> 'Training':
        tree, configs, name = os.path.abspath(path).rpartition('/configs/')
        if not configs or not os.path.isfile(path):
            raise MissingFileError(
                f'There is no config {path!r} in {Path.cwd()}; it must lie in the configs of a tree.'
            )
        config = load_config(path)
        work_dir = config.get('work_dir') or f'work_dirs/{Path(name).stem}'
        return cls(Path(tree), f'configs/{name}', config, work_dir)

    @property
    def checkpoint(self) -> str:
        """What a finished training leaves, relative to ``tree`` or absolute."""
        train_cfg = self.config.train_cfg
        last = f'epoch_{train_cfg.max_epochs}' if 'max_epochs' in train_cfg else f'iter_{train_cfg.max_iters}'
        return f'{self.work_dir}/{last}.pth'

    @property
    def finished(self) -> bool:
        return (self.tree / self.checkpoint).is_file()

    def train_command(self, gpus: int, *arguments: str) -> list[str]:
        return ['bash', 'tools/dist_train.sh', self.path, str(gpus), '--resume', *arguments]

    def test_command(self, gpus: int, *arguments: str) -> list[str]:
        return ['bash', 'tools/dist_test.sh', self.path, self.checkpoint, str(gpus), *arguments]


@dataclass
class Step:
    """One command.

    Attributes:
        folder: Folder that it runs in.
        command: The program and its arguments.
        finished: Whether it has done its work before.
        call: Does the same in this process; None starts one.
    """

    folder: Path
    command: list[str]
    finished: bool = False
    call: Callable[[], object] | None = None

    def __str__(self) -> str:
        return f'(cd {shlex.quote(str(self.folder))} && {shlex.join(self.command)})'


def run_steps(steps: Sequence[Step], record: Path) -> None:
    """Run what is not finished, in order, and write all commands to ``record``, a shell script that repeats the work.

    Raises:
        StepError: When one fails.
        StoppedError: When one was stopped by a signal or the keyboard.
    """
    write_text(record, '\n'.join(['set -e', *map(str, steps), '']))
    for step in steps:
        print(f'# finished: {step}' if step.finished else step, flush=True)
        if not step.finished and (code := _run(step)):
            if code == EXIT_CODE:
                print(f'{RESUME}\nStopped: {step}', flush=True)
                raise StoppedError
            raise StepError(f'Failed with exit code {code}: {step}\n{AGAIN}')


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _run(step: Step) -> int:
    """Exit code of a command, which does not outlive this process."""
    process = None
    try:
        if step.call:
            with chdir(step.folder):
                step.call()
            return 0
        process = subprocess.Popen(
            step.command, cwd=step.folder, preexec_fn=_end_with_parent if sys.platform == 'linux' else None
        )
        return process.wait()
    except StoppedError:
        return EXIT_CODE
    except RepFusionError as error:
        raise StepError(f'{error}\nFailed: {step}\n{AGAIN}') from error
    except KeyboardInterrupt:  # which the command got as well
        if process:
            process.wait()
        return EXIT_CODE
