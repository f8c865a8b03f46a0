"""What one training step costs: FLOPs, memory and time, measured on a few images and scaled up to a batch."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary, weakref

from ..models.frozen import FrozenHolder
from ..weights import unwrap

LONGEST = 2.0  # seconds that a step may take which is only timed, where there is no GPU


@dataclass
class StepCost:
    """Cost of a training step of one process.

    Attributes:
        images: Images that were run; what depends on their number is scaled to ``batch``.
        batch: Images of a batch.
        trained: Trainable parameters, by part of the model.
        frozen: Parameters that are not trained, such as a teacher's.
        flops: FLOPs of a step, forward and backward, two for a multiplication and an addition.
        weights: Bytes of all parameters and buffers, those of an average over training (EMA) too.
        gradients: Bytes of the gradients.
        optimizer: Bytes of the optimizer's state.
        maps: Bytes that the forward pass holds at most: what the backward pass needs, and what a teacher works with.
    """

    images: int
    batch: int
    trained: dict[str, int]
    frozen: int
    flops: int
    weights: int
    gradients: int
    optimizer: int
    maps: int

    @property
    def memory(self) -> int:
        """Bytes that a step needs, without the work space of the libraries' kernels."""
        return self.weights + self.gradients + self.optimizer + self.maps


@dataclass
class StepTime:
    """Seconds that a batch takes in one process.

    Attributes:
        images: Images that were timed.
        step: To train with it.
        data: To load it.
    """

    images: int
    step: float
    data: float

    def of_iteration(self, workers: int) -> float:
        """Of an iteration, where so many processes load batches; without any, the training waits for each."""
        return max(self.step, self.data / workers) if workers else self.step + self.data


class LiveMemory(TorchDispatchMode):
    """Bytes of the tensors that operations have made inside this context and that are still alive.

    Attributes:
        live: Bytes now.
        peak: Bytes at most so far.
    """

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self._known = WeakIdKeyDictionary()  # storage -> whether it was made here

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tree_map_only(Tensor, lambda tensor: self._note(tensor, made_here=False), (args, kwargs))
        outputs = func(*args, **kwargs)
        tree_map_only(Tensor, lambda tensor: self._note(tensor, made_here=True), outputs)
        return outputs

    def _note(self, tensor: Tensor, made_here: bool) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known[storage] = made_here
        if made_here:
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, storage.nbytes())

    def _free(self, size: int) -> None:
        self.live -= size


def measure_step(runner: Runner, data: dict, images: int, batch: int) -> StepCost:
    """Train one step on ``data``, a collated batch of ``images`` images, which stands for one of ``batch``."""
    model = unwrap(runner.model)
    device = next(model.parameters()).device
    # The fused attention of CPUs is unknown to the counter; written out, it does the same work.
    attention = sdpa_kernel(SDPBackend.MATH) if device.type == 'cpu' else nullcontext()
    model.train()
    memory, forward = LiveMemory(), []
    handle = model.register_forward_hook(lambda *_: forward.append(memory.peak))
    with attention, FlopCounterMode(display=False) as counter, memory:
        runner.model.train_step(data, runner.optim_wrapper)
    handle.remove()
    averages = [hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)]
    teachers = [module.held for module in model.modules() if isinstance(module, FrozenHolder)]
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    states = [value for state in runner.optim_wrapper.optimizer.state.values() for value in state.values()]
    return StepCost(
        images=images,
        batch=batch,
        trained=_count_by_part(model),
        frozen=sum(weight.numel() for part in (model, *teachers) for weight in part.parameters())
        - sum(weight.numel() for weight in trainable),
        flops=counter.get_total_flops() * batch // images,
        weights=sum(_nbytes(part) for part in (model, *averages, *teachers)),
        gradients=sum(weight.nbytes for weight in trainable),
        optimizer=sum(value.nbytes for value in states if isinstance(value, Tensor)),
        maps=max(forward) * batch // images,
    )


def measure_time(runner: Runner, load: Callable[[int], tuple[int, dict]], images: int, batch: int) -> StepTime:
    """Time a step of ``batch`` images, or without a GPU of as many as take ``LONGEST`` seconds.

    Args:
        runner: What trains.
        load: From a number of images to how many there are, and a collated batch of them.
        images: A few, to start with.
        batch: Images of a batch.
    """
    count, data = load(images)
    seconds = _time_step(runner, data)
    timed = batch if torch.cuda.is_available() else min(batch, max(count, int(count * LONGEST / seconds)))
    began = time.perf_counter()
    count, data = load(timed)
    loaded = time.perf_counter() - began
    _time_step(runner, data)  # the first of its size chooses kernels
    return StepTime(count, _time_step(runner, data) * batch / count, loaded * batch / count)


def _time_step(runner: Runner, data: dict) -> float:
    began = time.perf_counter()
    runner.model.train_step(data, runner.optim_wrapper)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _count_by_part(model: nn.Module) -> dict[str, int]:
    counts = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            part = name.partition('.')[0]
            counts[part] = counts.get(part, 0) + weight.numel()
    return counts


def _nbytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
