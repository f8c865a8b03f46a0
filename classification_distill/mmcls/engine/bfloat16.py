"""Mixed precision where MMEngine's ``AmpOptimWrapper`` refuses it: on processors that have units for it, as AMX."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """MMEngine's ``OptimWrapper``, which runs the model under autocast to bfloat16, on any device.

    bfloat16 has the range of float32, so that no loss is scaled. On a processor without units for it, it is slower
    than float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield
