"""Real processes of a test. They are forked: what the test has imported they need not import again."""

import os
import runpy
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import IO

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from support import ROOT


def run_tool(script: str, *arguments, folder: Path | None = None) -> tuple[int, str]:
    """Exit code and output of a command of tools/, called in ``folder``."""
    with tempfile.TemporaryFile('w+') as output:
        process = start_tool(script, *arguments, output=output, folder=folder)
        process.join()
        output.seek(0)
        return process.exitcode, output.read()


def start_tool(script: str, *arguments, output: IO[str], folder: Path | None = None) -> mp.Process:
    """A command of tools/ that runs in ``folder``; what it prints goes to ``output``."""
    command = [str(ROOT / 'tools' / script), *map(str, arguments)]
    process = mp.get_context('fork').Process(target=_run_tool, args=(command, output.fileno(), folder))
    process.start()
    return process


def _run_tool(command: list[str], output: int, folder: Path | None) -> None:
    os.chdir(folder or '.')
    forkserver._forkserver._forkserver_pid = None  # one that the parent started is no child of this process
    torch.set_num_threads(1)  # of the parent's threads a forked process has none
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = os.fdopen(1, 'w', buffering=1), os.fdopen(2, 'w', buffering=1)  # pytest has its own
    sys.argv = command
    runpy.run_path(command[0], run_name='__main__')


def run_in_two(function: Callable, folder: Path, *args) -> list:
    """What ``function(rank, *args)`` returns in each of two processes of one group; ``folder`` is for their files."""
    mp.start_processes(_run, (function, folder, args), nprocs=2, start_method='fork')
    return [torch.load(folder / f'returned_{rank}.pt', weights_only=False) for rank in range(2)]


def _run(rank: int, function: Callable, folder: Path, args: tuple) -> None:
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    torch.save(function(rank, *args), folder / f'returned_{rank}.pt')
    dist.destroy_process_group()
