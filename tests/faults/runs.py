"""Real runs of tools/train.py: processes forked from one that has imported the libraries, in groups of their own."""

import ctypes
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import time
from pathlib import Path
from typing import ClassVar

import torch
from mmcls.apis.job_runner import PRELOADED

TREE = Path(__file__).resolve().parents[2] / 'classification_distill'
FROM_FILES = str(Path(__file__).with_name('from_files.py'))  # decoded one by one, by workers where there are some
IN_MEMORY = 'configs/digits-hint/ddpm-r18_hint.py'

_context = multiprocessing.get_context('forkserver')
_context.set_forkserver_preload(PRELOADED)


class Run:
    """A run in ``work_dir``, with ``variables`` in its environment; ``<work_dir>.<rank>.log`` is what it prints."""

    started: ClassVar[list['Run']] = []  # by this test

    def __init__(self, config: str, work_dir: Path, options: list[str], *arguments: str, **variables: str):
        rank = variables.get('RANK', '0')
        self.log = work_dir.with_name(f'{work_dir.name}.{rank}.log')
        command = ['tools/train.py', str(config), '--work-dir', str(work_dir), *arguments, '--cfg-options', *options]
        self.process = _context.Process(target=_train, args=(command, str(self.log), variables))
        self.process.start()
        self.started.append(self)

    def end(self, timeout: float = 400) -> int:
        """Wait for it; its exit code, or minus the signal that killed it."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f'It still runs.\n{self.output}'
        return self.process.exitcode

    def kill(self) -> None:
        """End it and its workers, whatever they do."""
        if self.process.is_alive():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.join()

    @property
    def output(self) -> str:
        return self.log.read_text(errors='replace')


def _train(command: list[str], log: str, variables: dict[str, str]) -> None:
    os.setsid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with the tests, however they do
    os.environ.update(variables)
    os.chdir(TREE)
    file = open(log, 'w', buffering=1)  # noqa: SIM115 (until the process ends)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file.fileno(), stream.fileno())
    sys.argv = command
    import fault_hooks  # noqa: F401

    runpy.run_path(command[0], run_name='__main__')


def train(config: str, work_dir: Path, options: list[str], *arguments: str, code: int = 0, **variables: str) -> str:
    """Run to the end, which must be ``code``; what was printed."""
    run = Run(config, work_dir, options, *arguments, **variables)
    assert run.end() == code, run.output[-3000:]
    return run.output


def start_two(config: str, work_dir: Path, options: list[str], *arguments: str) -> list[Run]:
    """The two processes of a run, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    variables = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'WORLD_SIZE': '2'}
    return [
        Run(config, work_dir, options, '--launcher', 'pytorch', *arguments, RANK=str(r), LOCAL_RANK=str(r), **variables)
        for r in range(2)
    ]


def train_in_two(config: str, work_dir: Path, options: list[str], *arguments: str, code: int = 0) -> list[str]:
    """Run in two processes to the end, which must be ``code`` for both; what each printed."""
    runs = start_two(config, work_dir, options, *arguments)
    for run in runs:
        assert run.end() == code, run.output[-3000:]
    return [run.output for run in runs]


def fault(name: str, iteration: int, rank: int = 0) -> list[str]:
    settings = {'type': 'FaultHook', 'fault': name, 'iteration': iteration, 'rank': rank}
    return [f'default_hooks.fault.{key}={value}' for key, value in settings.items()]


def wait_for(path: Path, timeout: float = 300) -> None:
    end = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < end, f'{path} did not come.'
        time.sleep(0.02)


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Averaged weights, and the others as ``module.<name>``."""
    contents = torch.load(checkpoint, weights_only=False)
    return contents['state_dict'] | contents['ema_state_dict']


def assert_same_weights(one: Path, other: Path) -> None:
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], atol=1e-6, rtol=1e-5, msg=key)
