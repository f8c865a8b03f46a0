"""One training step, the published way and ours with each option, on the same weights and images."""

import gc
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..datasets.samples import SampleBatch
from ..models.teachers.execution import GraphReplay
from .own_process import in_own_process
from .published import PublishedTeacher  # noqa: F401

PUBLISHED = 'published'


def ways() -> dict[str, dict]:
    """What is compared on this machine, by name: the teacher's ``dtype``, and whether the step is compiled.

    The first is what a run does by default.
    """
    if torch.cuda.is_available():
        return {
            'ours': {'dtype': 'bfloat16', 'compile': True},
            'not compiled': {'dtype': 'bfloat16', 'compile': False},
        }
    return {
        'ours': {'dtype': 'float32', 'compile': False},
        'compiled': {'dtype': 'float32', 'compile': True},
        'bfloat16': {'dtype': 'bfloat16', 'compile': False},
    }


def adapt(model: dict, way: str) -> dict:
    """The config of a RepFusion model as a way of ``ways``, or the published one, has it."""
    model = model | {'feature_cache': None}
    if way == PUBLISHED:
        plain = model['teacher'] | {'dtype': 'float32', 'compile': False}
        return model | {'teacher': {'type': 'PublishedTeacher', 'teacher': plain}, 'compile': False}
    return model | {'teacher': model['teacher'] | ways()[way], 'compile': ways()[way]['compile']}


class Step:
    """A model, its optimizer and one batch.

    Args:
        model: Config of a RepFusion model.
        way: ``'published'``, or a key of ``ways``.
        batch_size: Images a step.
    """

    def __init__(self, model: dict, way: str, batch_size: int):
        init_default_scope('mmpretrain')
        torch.manual_seed(0)
        self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
        preprocessor = dict(model.get('data_preprocessor') or {})
        preprocessor.pop('augments', None)
        preprocessor['type'] = 'ClsDataPreprocessor' if way == PUBLISHED else 'BatchPreprocessor'
        model = dict(model) | {'data_preprocessor': preprocessor}
        self.model = MODELS.build(adapt(model, way)).to(self.device).train()
        fast = self.device == 'cuda' and way != PUBLISHED
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, fused=fast)
        self.optimizer = AmpOptimWrapper(dtype='bfloat16', optimizer=optimizer) if fast else OptimWrapper(optimizer)
        size = self.model.teacher.sample_size
        inputs, labels = torch.randint(256, (batch_size, 3, *size), dtype=torch.uint8), torch.arange(batch_size) % 2
        if way == PUBLISHED:
            samples = [DataSample().set_gt_label(label) for label in labels]
            self.data = {'inputs': list(inputs), 'data_samples': samples}
        else:
            inputs = inputs.pin_memory() if fast else inputs
            self.data = {'inputs': inputs, 'data_samples': SampleBatch(gt_label=labels, sample_idx=labels)}
        self.images = torch.rand(batch_size, 3, *size, device=self.device) * 2 - 1
        self.t = torch.randint(self.model.teacher.num_timesteps, (batch_size,), device=self.device)

    def run(self, times: int) -> float:
        """Seconds a step, as a mean of ``times``."""
        return self._time(lambda: self.model.train_step(self.data, self.optimizer), times)

    def read(self, times: int) -> float:
        """Seconds that the teacher takes of it."""
        return self._time(lambda: self.model.teacher(self.images, self.t, pooled=True), times)

    def _time(self, call: Callable[[], object], times: int) -> float:
        self._synchronize()
        start = time.perf_counter()
        for _ in range(times):
            call()
        self._synchronize()
        return (time.perf_counter() - start) / times

    def flops(self) -> dict[str, int]:
        """FLOPs an image: of the teacher's forward, and of the whole step; of a step that is not compiled."""
        count = len(self.images)
        # The fused attention of CPUs is unknown to the counter; written out, it does the same work.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as teacher:
            self.model.teacher(self.images, self.t)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as step:
            self.run(1)
        return {'teacher': teacher.get_total_flops() // count, 'step': step.get_total_flops() // count}

    def _synchronize(self) -> None:
        if self.device == 'cuda':
            torch.cuda.synchronize()


def peak_memory(model: dict, way: str, batch_size: int) -> int:
    """Bytes that a way needs at most during a step, weights included, measured in a process of its own."""
    return in_own_process(_peak_memory_here, model, way, batch_size)


def _peak_memory_here(model: dict, way: str, batch_size: int) -> int:
    before = resident('VmRSS')
    step = Step(model, way, batch_size)
    gc.collect()
    if step.device == 'cuda':
        step.run(GraphReplay.warm_up + 2)
        return torch.cuda.max_memory_reserved()  # with what a CUDA graph keeps for itself
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
        round's), ``peak_memory`` in bytes, ``teacher_flops`` and ``step_flops`` an image, and of the machine's FLOP/s
        ``teacher_share`` while the teacher is read, and ``share_of_peak`` over the whole step.
    """
    names = [PUBLISHED, *ways()]
    uncompiled = next(name for name, settings in ways().items() if not settings['compile'])
    on_gpu = torch.cuda.is_available()
    warm_up, times = (GraphReplay.warm_up + 5, 10) if on_gpu else (2, 2)
    steps = {}
    for name in names:
        print(f'{name}: building, first steps ...', file=sys.stderr)
        steps[name] = Step(model, name, batch_size)
        steps[name].run(2)
    flops = {name: steps[name].flops() for name in (PUBLISHED, uncompiled)}
    for step in steps.values():
        step.run(warm_up)
        step.read(warm_up)
    seconds, reading = defaultdict(list), defaultdict(list)
    for index in range(rounds):
        print(f'round {index + 1} of {rounds} ...', file=sys.stderr)
        for name in names:
            seconds[name].append(steps[name].run(times))
            reading[name].append(steps[name].read(times))
    steps.clear()
    published = statistics.median(seconds[PUBLISHED])
    peaks = {dtype: peak_flops(getattr(torch, dtype), 8192 if on_gpu else 1024) for dtype in ('float32', 'bfloat16')}
    rows = []
    for name in names:
        median = statistics.median(seconds[name])
        count = flops[PUBLISHED if name == PUBLISHED else uncompiled]
        peak = peaks['float32' if name == PUBLISHED else ways()[name]['dtype']]
        rows.append({
            'way': name,
            'images_per_second': batch_size / median,
            'ratio': published / median,
            'seconds': seconds[name],
            'peak_memory': peak_memory(model, name, batch_size),
            'teacher_flops': count['teacher'],
            'step_flops': count['step'],
            'teacher_share': count['teacher'] * batch_size / statistics.median(reading[name]) / peak,
            'share_of_peak': count['step'] * batch_size / median / peak,
        })  # fmt: skip
    return rows
