"""One training step, the published way and ours with each option, on the same weights and images."""

import gc
import multiprocessing
import statistics
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .published import PublishedTeacher  # noqa: F401

PUBLISHED = 'published'


def ways() -> dict[str, dict]:
    """The options of the teacher that are compared on this machine, by name."""
    precisions = ['bfloat16', 'float16', 'float32'] if torch.cuda.is_available() else ['float32', 'bfloat16']
    first, *others = precisions
    return {
        f'ours, {first}': {'dtype': first},
        'channels_last': {'dtype': first, 'channels_last': True},
        'compile': {'dtype': first, 'compile': True},
        'channels_last, compile': {'dtype': first, 'channels_last': True, 'compile': True},
        **{dtype: {'dtype': dtype} for dtype in others},
    }


class Step:
    """A model, its optimizer and one batch.

    Args:
        model: Config of a RepFusion model.
        way: ``'published'``, or a key of ``ways``.
        batch_size: Images a step.
    """

    def __init__(self, model: dict, way: str, batch_size: int):
        init_default_scope('mmpretrain')
        teacher = dict(model['teacher'])
        teacher = {'type': 'PublishedTeacher', 'teacher': teacher} if way == PUBLISHED else teacher | ways()[way]
        torch.manual_seed(0)
        self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.model = MODELS.build(dict(model) | {'teacher': teacher}).to(self.device).train()
        self.optimizer = OptimWrapper(torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9))
        size = self.model.teacher.sample_size
        self.data = {
            'inputs': list(torch.randint(256, (batch_size, 3, *size), dtype=torch.uint8)),
            'data_samples': [DataSample().set_gt_label(i % 2) for i in range(batch_size)],
        }

    def run(self, times: int) -> float:
        """Seconds a step, as a mean of ``times``."""
        self._synchronize()
        start = time.perf_counter()
        for _ in range(times):
            self.model.train_step(self.data, self.optimizer)
        self._synchronize()
        return (time.perf_counter() - start) / times

    def flops(self) -> dict[str, int]:
        """FLOPs an image: of the teacher's forward, and of the whole step."""
        count = len(self.data['inputs'])
        size = self.model.teacher.sample_size
        images = torch.zeros(count, 3, *size, device=self.device)
        # The fused attention of CPUs is unknown to the counter; written out, it does the same work.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as teacher:
            self.model.teacher(images, torch.zeros(count, dtype=torch.int64, device=self.device))
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as step:
            self.run(1)
        return {'teacher': teacher.get_total_flops() // count, 'step': step.get_total_flops() // count}

    def _synchronize(self) -> None:
        if self.device == 'cuda':
            torch.cuda.synchronize()


def peak_memory(model: dict, way: str, batch_size: int) -> int:
    """Bytes that a way needs at most during a step, weights included, measured in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as pool:
        return pool.submit(_peak_memory_here, model, way, batch_size).result()


def _peak_memory_here(model: dict, way: str, batch_size: int) -> int:
    before = resident('VmRSS')
    step = Step(model, way, batch_size)
    gc.collect()
    if step.device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        step.run(2)
        return torch.cuda.max_memory_allocated()
    # Loading may need more than a step: the kernel forgets its high-water mark.
    Path('/proc/self/clear_refs').write_text('5')
    step.run(2)
    return resident('VmHWM') - before


def resident(field: str) -> int:
    """Bytes of this process that Linux reports as ``field``: ``VmRSS`` now, ``VmHWM`` at most so far."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def peak_flops(dtype: torch.dtype, size: int, rounds: int = 8, seconds: float = 5.0) -> float:
    """The machine's FLOP/s in ``dtype``: the best of several products of square matrices.

    A CPU without instructions for the type is hundreds of times slower: no further product once ``seconds`` are over.
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    a = torch.rand(size, size, device=device).to(dtype)
    times = []
    while not times or (len(times) < rounds and sum(times) < seconds):
        start = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for the result
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def measure(model: dict, batch_size: int, rounds: int) -> list[dict]:
    """Measure every way.

    The ways take turns, so that a machine whose speed drifts is as fast for one as for another.

    Returns:
        list[dict]: A row a way: ``way``, ``images_per_second``, ``ratio`` to the published way, ``seconds`` (every
        round's), ``peak_memory`` in bytes, ``teacher_flops`` and ``step_flops`` an image, and ``share_of_peak``.
    """
    names = [PUBLISHED, *ways()]
    steps = {}
    for name in names:
        print(f'{name}: building, first steps ...', file=sys.stderr)
        steps[name] = Step(model, name, batch_size)
        steps[name].run(2)
    ours = names[1]
    flops = {name: steps[name].flops() for name in (PUBLISHED, ours)}
    seconds = defaultdict(list)
    for index in range(rounds):
        print(f'round {index + 1} of {rounds} ...', file=sys.stderr)
        for name in names:
            seconds[name].append(steps[name].run(2))
    steps.clear()
    size = 8192 if torch.cuda.is_available() else 1024
    published = statistics.median(seconds[PUBLISHED])
    rows = []
    for name in names:
        median = statistics.median(seconds[name])
        count = flops[PUBLISHED if name == PUBLISHED else ours]
        dtype = getattr(torch, 'float32' if name == PUBLISHED else ways()[name]['dtype'])
        rows.append({
            'way': name,
            'images_per_second': batch_size / median,
            'ratio': published / median,
            'seconds': seconds[name],
            'peak_memory': peak_memory(model, name, batch_size),
            'teacher_flops': count['teacher'],
            'step_flops': count['step'],
            'share_of_peak': count['step'] * batch_size / median / peak_flops(dtype, size),
        })  # fmt: skip
    return rows
