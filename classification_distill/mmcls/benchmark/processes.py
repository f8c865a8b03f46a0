"""One training step in one process and in several, which is what all-reduces and shared hardware cost."""

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel

from ..errors import UnusableInputError
from ..models.teachers.execution import GraphReplay
from ..weights import load_checkpoint
from .step import Step, ways

STEPS = 3  # in a turn


def measure(model: dict, batch_size: int, processes: int, rounds: int) -> list[dict]:
    """Let one process, all without a word between them, and all together take turns.

    Args:
        model: Config of a RepFusion model.
        batch_size: Images a step, of each process.
        processes: Number of processes; with GPUs, each has its own.
        rounds: Turns that each way gets.

    Returns:
        list[dict]: A row a way: ``way``, ``images_per_second`` of all processes, ``efficiency``, the speed of a process
        as a share of that of one alone in the same round, ``seconds`` a step, every round's, and likewise
        ``processor_efficiency`` and ``processor_seconds``, which do not count what others on the machine take.
    """
    if 0 < torch.cuda.device_count() < processes:
        raise UnusableInputError(f'processes={processes}, and torch finds {torch.cuda.device_count()} GPU(s) here.')
    context = mp.get_context('spawn')
    with tempfile.TemporaryDirectory() as folder:
        arguments = (model, batch_size, processes, rounds, folder, context.Barrier(processes))
        mp.spawn(_work, arguments, nprocs=processes)
        ranks = [load_checkpoint(Path(folder, f'{rank}.pt')) for rank in range(processes)]
    rows = []
    for way in ranks[0]:
        working = [rank[way] for rank in ranks if way in rank]
        # A step of all lasts as long as the slowest.
        seconds, processor_seconds = (
            [max(turn) for turn in zip(*each, strict=True)] for each in zip(*working, strict=True)
        )
        alone = rows[0] if rows else {'seconds': seconds, 'processor_seconds': processor_seconds}
        rows.append({
            'way': way,
            'images_per_second': batch_size * len(working) / statistics.median(seconds),
            'efficiency': _median_ratio(alone['seconds'], seconds),
            'processor_efficiency': _median_ratio(alone['processor_seconds'], processor_seconds),
            'seconds': seconds,
            'processor_seconds': processor_seconds,
        })  # fmt: skip
    return rows


def _median_ratio(first: list[float], second: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def _work(rank: int, model: dict, batch_size: int, processes: int, rounds: int, folder: str, barrier) -> None:
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
    step = Step(model, next(iter(ways())), batch_size)
    step.run(GraphReplay.warm_up + 2 if torch.cuda.is_available() else 2)
    turns = defaultdict(list)
    for index in range(rounds):
        if rank == 0:
            print(f'round {index + 1} of {rounds} ...', file=sys.stderr)
        barrier.wait()
        if rank == 0:
            turns['one process'].append(_run(step))
        barrier.wait()
        turns[f'{processes} processes, nothing shared'].append(_run(step))
        turns[f'{processes} processes'].append(_run_together(step, f'{folder}/store{index}', rank, processes))
    torch.save({way: list(zip(*turn, strict=True)) for way, turn in turns.items()}, f'{folder}/{rank}.pt')


def _run(step: Step) -> tuple[float, float]:
    start = time.process_time()
    seconds = step.run(STEPS)
    return seconds, (time.process_time() - start) / STEPS


def _run_together(step: Step, store: str, rank: int, processes: int) -> tuple[float, float]:
    backend = 'nccl' if torch.cuda.is_available() else 'gloo'
    dist.init_process_group(backend, init_method=f'file://{store}', rank=rank, world_size=processes)
    alone, step.model = step.model, MMDistributedDataParallel(step.model, broadcast_buffers=False)
    step.run(1)
    dist.barrier()
    turn = _run(step)
    step.model = alone
    dist.destroy_process_group()
    return turn
