"""Two real processes in one test. They are forked: what the test has imported they need not import again."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_in_two(function: Callable, folder: Path, *args) -> list:
    """What ``function(rank, *args)`` returns in each of two processes of one group; ``folder`` is for their files."""
    mp.start_processes(_run, (function, folder, args), nprocs=2, start_method='fork')
    return [torch.load(folder / f'returned_{rank}.pt', weights_only=False) for rank in range(2)]


def _run(rank: int, function: Callable, folder: Path, args: tuple) -> None:
    torch.set_num_threads(1)  # of the parent's threads a forked process has none
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    torch.save(function(rank, *args), folder / f'returned_{rank}.pt')
    dist.destroy_process_group()
