"""Where augmentations take their random numbers from: fresh ones, or those of a fixed view of an image."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

#: From a number k to uniform draws ``(k, N)`` in [0, 1), float32, for the N images of a batch.
Draw = Callable[[int], Tensor]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of Python, NumPy and torch by a seed; afterwards each goes on as if nothing had been drawn."""
    states = random.getstate(), np.random.get_state()
    # Of the GPUs the one of this process, and none before it is in use: asking for its state would wake it.
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices):
            random.seed(seed)
            np.random.seed(seed)
            torch.default_generator.manual_seed(seed)
            if devices:
                torch.cuda.manual_seed(seed)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def fresh_draws(count: int, device: torch.device) -> Draw:
    """Draws of torch's generator for ``count`` images."""
    return lambda number: torch.rand(number, count, device=device)


class ViewDraws:
    """Draws that follow from a seed, the image and the number of its view, whatever the batch and the process.

    Args:
        indices: The images' places in the data set ``(N,)``, int64.
        views: Numbers of their views ``(N,)``, int64.
        seed: Of all views.
    """

    def __init__(self, indices: Tensor, views: Tensor, seed: int):
        self._state = _mix(_mix(indices + _mix(torch.full_like(indices, seed))) + views)
        self._number = 0

    def __call__(self, number: int) -> Tensor:
        counters = torch.arange(self._number, self._number + number, device=self._state.device)
        self._number += number
        bits = _mix(self._state + _mix(counters)[:, None])
        return _shift(bits, 40).float() / 2**24


def _mix(x: Tensor) -> Tensor:
    """SplitMix64 ("Fast splittable pseudorandom number generators", Steele et al., 2014), on int64 that wraps."""
    x = x - 0x61C8864680B583EB
    x = (x ^ _shift(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shift(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """To the right, with zeros from the left."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
