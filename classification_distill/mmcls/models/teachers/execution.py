"""How a frozen network is run: its precision, which of its blocks are kept, and which are compiled."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from ...errors import UnusableInputError

_DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


class Precision:
    """Autocast of a frozen network, whatever autocast it is called in.

    Args:
        dtype: ``'float32'``, ``'bfloat16'``, ``'float16'``, or ``'auto'``: bfloat16 on a GPU that has it, float16 on
            an older one, and float32 on a CPU.
    """

    def __init__(self, dtype: str = 'auto'):
        if dtype != 'auto' and dtype not in _DTYPES:
            raise UnusableInputError(f"dtype={dtype!r} is none of 'auto', {', '.join(map(repr, _DTYPES))}.")
        self.dtype = dtype

    def resolve(self, device: torch.device) -> torch.dtype:
        """The precision on ``device``."""
        if self.dtype != 'auto':
            return _DTYPES[self.dtype]
        if device.type != 'cuda':
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16

    def autocast(self, device: torch.device) -> torch.autocast:
        """A context that runs in this precision on ``device``."""
        dtype = self.resolve(device)
        # The weights stay float32; cached casts of them would outlive no step and cost memory.
        kind = 'cpu' if device.type == 'meta' else device.type
        if dtype == torch.float32:
            return torch.autocast(kind, enabled=False)
        return torch.autocast(kind, dtype=dtype, cache_enabled=False)


@contextmanager
def drop_uncalled(network: nn.Module) -> Iterator[None]:
    """On leaving, drop the blocks of ``network`` that were not called meanwhile, and with them their memory.

    Blocks are the network's children and the elements of its lists, not what is inside of them.
    """
    lists = [child for child in network.children() if isinstance(child, nn.ModuleList)]
    slots = [
        (parent, name, child)
        for parent in [network, *lists]
        for name, child in parent.named_children()
        if child not in lists
    ]
    called = set()
    handles = [child.register_forward_pre_hook(lambda module, args: called.add(module)) for _, _, child in slots]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    for parent, name, child in slots:
        if child not in called:
            parent._modules[name] = None


def compile_untapped(network: nn.Module, layers: Sequence[str]) -> None:
    """Compile, in place, the largest modules that hold none of ``layers``; single operations are left as they are."""
    compiled = []

    def compile_below(module: nn.Module, name: str) -> None:
        for child_name, child in module.named_children():
            path = f'{name}.{child_name}'.lstrip('.')
            tapped = any(layer == path or layer.startswith(f'{path}.') for layer in layers)
            if tapped or isinstance(child, nn.ModuleList):
                compile_below(child, path)
            elif any(True for _ in child.children()):
                child.compile()
                compiled.append(child)

    compile_below(network, '')
    # Blocks of one class share a forward, whose versions are counted together: past the limit they run uncompiled.
    limit = 4 * len(compiled)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, limit)
