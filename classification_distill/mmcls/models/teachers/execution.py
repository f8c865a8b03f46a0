"""How a frozen network is run: which of its blocks are kept, in which precision, compiled and replayed."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...errors import UnusableInputError

_DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


class Precision:
    """The type in which a frozen network's weights are held and its features computed.

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


def no_autocast(device: torch.device) -> torch.autocast:
    """A context in which the network computes in the type of its weights, whatever autocast it is called in."""
    return torch.autocast('cpu' if device.type == 'meta' else device.type, enabled=False)


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


class ChannelsLastGroupNorm(nn.Module):
    """``nn.GroupNorm`` as a compiler can fuse it with its neighbours, without leaving the channels-last format.

    torch's own kernel (2.14) copies a channels-last map to be contiguous, and the next convolution copies it back. Here
    are only sums over positions, which are coalesced, and a scale and a shift for each image and channel. Sums, scale
    and shift are float32 whatever the type of the map.
    """

    def __init__(self, norm: nn.GroupNorm):
        super().__init__()
        self.num_groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x (N, C, ...)``."""
        count, channels = x.shape[:2]
        precise, positions = x.float(), tuple(range(2, x.dim()))
        grouped = (count, self.num_groups, -1)
        mean = precise.mean(positions).view(grouped).mean(2, keepdim=True)
        variance = precise.square().mean(positions).view(grouped).mean(2, keepdim=True) - mean.square()
        scale = (variance.clamp(min=0) + self.eps).rsqrt() * self.weight.float().view(1, self.num_groups, -1)
        shift = self.bias.float().view(1, self.num_groups, -1) - mean * scale
        each = (count, channels, *[1] * len(positions))
        return (precise * scale.reshape(each) + shift.reshape(each)).to(x.dtype)


def compile_blocks(network: nn.Module, layers: Sequence[str]) -> None:
    """Compile, in place and for channels-last maps, the largest modules that hold none of ``layers``.

    Group norms become ones that the compiler can fuse; other single operations are left as they are. Torch's limit of
    versions of a compiled function is raised as far as the blocks need.
    """
    network.to(memory_format=torch.channels_last)
    for parent in [*network.modules()]:
        for name, child in parent.named_children():
            if isinstance(child, nn.GroupNorm) and child.affine:
                parent._modules[name] = ChannelsLastGroupNorm(child)
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


class GraphReplay:
    """Calls a function of tensors and, for shapes that come again and again, replays it as one CUDA graph.

    A network of a hundred small operations on small images takes longer to call than to compute; a graph is one call.

    Args:
        function: From tensors (or None) and keyword arguments to a dict of tensors; it must not draw, nor wait for the
            device. What it returns is overwritten by the next call.
    """

    #: Calls of a shape before it is recorded, in which compilers and cuDNN make their choices.
    warm_up = 10

    def __init__(self, function: Callable[..., dict[str, Tensor]]):
        self.function = function
        self.calls: Counter = Counter()
        self.recorded: dict[tuple, tuple] = {}

    def __deepcopy__(self, memo: dict) -> 'GraphReplay':
        return self  # it is as frozen as the network

    def forget(self) -> None:
        """Drop what is recorded, of weights that are about to move."""
        self.calls.clear()
        self.recorded.clear()

    def __call__(self, *inputs: Tensor | None, **options) -> dict[str, Tensor]:
        key = (
            tuple(options.items()),
            *((x.shape, x.dtype, x.stride()) if x is not None else None for x in inputs),
        )
        if key in self.recorded:
            held, graph, outputs = self.recorded[key]
            for mine, given in zip(held, inputs, strict=True):
                if mine is not None:
                    mine.copy_(given)
            graph.replay()
            return outputs
        self.calls[key] += 1
        if self.calls[key] <= self.warm_up:
            return self.function(*inputs, **options)
        held = [None if x is None else torch.empty_like(x).copy_(x) for x in inputs]
        graph, device = torch.cuda.CUDAGraph(), next(x for x in held if x is not None).device
        with (
            torch.cuda.device(device),
            # Threads that load data go on; the stream that torch would take is of the first device that recorded.
            torch.cuda.graph(graph, stream=torch.cuda.Stream(device), capture_error_mode='thread_local'),
        ):
            outputs = self.function(*held, **options)
        self.recorded[key] = held, graph, outputs
        graph.replay()
        return outputs
