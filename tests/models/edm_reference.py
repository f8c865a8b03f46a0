"""The tests' own, independent definition of EDM's ADM network, in plain torch, pickled as NVlabs pickles its modules.

Written from the architecture (Karras et al., 2022, appendix F.2) and the names and shapes of the published file's
tensors. No layer starts at zero, so that a freshly made model depends on every one of its weights.
"""

import collections
import math
import pickle
import sys
import types

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SOURCE = 'raise SystemExit("the source in the pickle was run")'


class Persistent(nn.Module):
    """Pickles itself with source code, which a loader that executes it would run."""

    published = None  # class_name in the file

    def __reduce__(self):
        state = dict(self.__dict__)
        meta = dict(type='class', version=6, module_src=SOURCE, class_name=self.published or type(self).__name__)
        return reconstruct, (meta | dict(state=state),)


def reconstruct(meta):
    raise AssertionError('never called: the name is what the file needs')


reconstruct.__module__, reconstruct.__qualname__ = 'torch_utils.persistence', '_reconstruct_persistent_obj'
reconstruct.__name__ = '_reconstruct_persistent_obj'


class Linear(Persistent):
    def __init__(self, width, out, bias=True, kind=None):
        super().__init__()
        self.published = kind
        self._init_kwargs = dict(init_weight=np.sqrt(1 / 3))  # a scalar of NumPy's, as in the published file
        self.weight = nn.Parameter(torch.randn(out, width) / math.sqrt(width))
        self.bias = nn.Parameter(torch.randn(out) / 4) if bias else None

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)


class Conv2d(Persistent):
    def __init__(self, channels, out, kernel, resample=None):
        super().__init__()
        self.resample = resample
        self.weight = self.bias = None
        if kernel:
            self.weight = nn.Parameter(torch.randn(out, channels, kernel, kernel) / math.sqrt(channels * kernel**2))
            self.bias = nn.Parameter(torch.randn(out) / 4)
        self.register_buffer('resample_filter', torch.full((1, 1, 2, 2), 0.25) if resample else None)

    def forward(self, x):
        if self.resample == 'up':
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        if self.resample == 'down':
            x = F.conv2d(x, self.resample_filter.repeat(x.shape[1], 1, 1, 1), stride=2, groups=x.shape[1])
        return x if self.weight is None else F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


class GroupNorm(Persistent):
    def __init__(self, channels):
        super().__init__()
        self.num_groups = min(32, channels // 4)
        self.weight, self.bias = nn.Parameter(1 + torch.randn(channels) / 4), nn.Parameter(torch.randn(channels) / 4)

    def forward(self, x):
        return F.group_norm(x, self.num_groups, self.weight, self.bias, eps=1e-5)


class UNetBlock(Persistent):
    def __init__(self, channels, out, embedding, resample=None, attention=False):
        super().__init__()
        self.in_channels = channels
        self.heads = out // 64 if attention else 0
        self.norm0, self.conv0 = GroupNorm(channels), Conv2d(channels, out, 3, resample)
        self.affine, self.norm1 = Linear(embedding, 2 * out), GroupNorm(out)
        self.conv1 = Conv2d(out, out, 3)
        self.skip = Conv2d(channels, out, int(channels != out), resample) if channels != out or resample else None
        if attention:
            self.norm2, self.qkv, self.proj = GroupNorm(out), Conv2d(out, 3 * out, 1), Conv2d(out, out, 1)

    def forward(self, x, embedding):
        scale, shift = self.affine(embedding)[:, :, None, None].chunk(2, 1)
        h = self.norm1(self.conv0(F.silu(self.norm0(x)))) * (1 + scale) + shift
        x = self.conv1(F.silu(h)) + (x if self.skip is None else self.skip(x))
        if self.heads:
            n, c, height, width = x.shape
            # Of each channel of a head its query, key and value.
            rows = self.qkv(self.norm2(x)).reshape(n, self.heads, c // self.heads, 3, height * width)
            q, k, v = rows.unbind(3)
            weights = torch.einsum('nhcq,nhck->nhqk', q, k / math.sqrt(c // self.heads)).softmax(-1)
            x = x + self.proj(torch.einsum('nhqk,nhck->nhcq', weights, v).reshape(n, c, height, width))
        return x


class DhariwalUNet(Persistent):
    def __init__(self, size, width=128, mult=(1, 1), blocks=1, attention=(4,), classes=10):
        super().__init__()
        self._init_kwargs = dict(img_resolution=size, in_channels=3, out_channels=3, label_dim=classes,
                                 model_channels=width, channel_mult=list(mult), num_blocks=blocks,
                                 attn_resolutions=list(attention), dropout=0.1)  # fmt: skip
        self.width = width
        embedding = 4 * width
        self.map_augment = None
        self.map_layer0, self.map_layer1 = Linear(width, embedding), Linear(embedding, embedding)
        self.map_label = Linear(classes, embedding, bias=False) if classes else None
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        channels, skips = width * mult[0], [width * mult[0]]
        self.enc[f'{size}x{size}_conv'] = Conv2d(3, channels, 3)
        for level, factor in enumerate(mult):
            side = size >> level
            if level:
                self.enc[f'{side}x{side}_down'] = UNetBlock(channels, channels, embedding, 'down')
                skips.append(channels)
            for i in range(blocks):
                block = UNetBlock(channels, width * factor, embedding, attention=side in attention)
                self.enc[f'{side}x{side}_block{i}'] = block
                channels = width * factor
                skips.append(channels)
        for level in reversed(range(len(mult))):
            side = size >> level
            if level == len(mult) - 1:
                self.dec[f'{side}x{side}_in0'] = UNetBlock(channels, channels, embedding, attention=True)
                self.dec[f'{side}x{side}_in1'] = UNetBlock(channels, channels, embedding)
            else:
                self.dec[f'{side}x{side}_up'] = UNetBlock(channels, channels, embedding, 'up')
            for i in range(blocks + 1):
                width_in = channels + skips.pop()
                channels = width * mult[level]
                block = UNetBlock(width_in, channels, embedding, attention=side in attention)
                self.dec[f'{side}x{side}_block{i}'] = block
        self.out_norm, self.out_conv = GroupNorm(channels), Conv2d(channels, 3, 3)

    def forward(self, x, noise, classes):
        frequencies = 10000 ** -(torch.arange(self.width // 2) / (self.width // 2))
        angles = noise[:, None] * frequencies
        embedding = self.map_layer1(F.silu(self.map_layer0(torch.cat([angles.cos(), angles.sin()], 1))))
        embedding = F.silu(embedding if self.map_label is None else embedding + self.map_label(classes))
        skips = []
        for block in self.enc.values():
            x = block(x) if isinstance(block, Conv2d) else block(x, embedding)
            skips.append(x)
        for block in self.dec.values():
            x = block(torch.cat([x, skips.pop()], 1) if x.shape[1] != block.in_channels else x, embedding)
        return self.out_conv(F.silu(self.out_norm(x)))


class EDMPrecond(Persistent):
    """The network of a noise level: what is learned, between a skip connection and scales (Table 1)."""

    def __init__(self, model, kind=None):
        super().__init__()
        self.published = kind
        self.sigma_data, self.model = 0.5, model

    def forward(self, x, sigma, classes):
        variance = sigma.view(-1, 1, 1, 1) ** 2 + self.sigma_data**2
        return self.model(x / variance.sqrt(), sigma.log() / 4, classes)


def save(path, network, **further) -> None:
    """Write what NVlabs' training does."""
    persistence, utilities = types.ModuleType('torch_utils.persistence'), types.ModuleType('dnnlib.util')
    persistence._reconstruct_persistent_obj = reconstruct
    utilities.EasyDict = type('EasyDict', (dict,), {'__module__': 'dnnlib.util'})
    names = {'torch_utils': types.ModuleType('torch_utils'), 'torch_utils.persistence': persistence,
             'dnnlib': types.ModuleType('dnnlib'), 'dnnlib.util': utilities}  # fmt: skip
    content = {'ema': network.eval().requires_grad_(False), 'dataset_kwargs': utilities.EasyDict(path='x'), **further}
    content['loss_fn'] = collections.OrderedDict(P_mean=-1.2)
    sys.modules.update(names)
    try:
        path.write_bytes(pickle.dumps(content, protocol=4))
    finally:
        for name in names:
            del sys.modules[name]
