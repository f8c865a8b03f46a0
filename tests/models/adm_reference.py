"""The tests' own, independent definition of the ADM U-Net, in plain torch.

Written from the architecture of "Diffusion Models Beat GANs on Image Synthesis" (Dhariwal & Nichol, 2021), as ground
truth for the conversion of its checkpoints. The names and shapes of the parameters are those of the published
guided-diffusion checkpoints. No layer starts at zero, so that a freshly made model depends on every one of its
weights; there is no dropout.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

_SMALL = dict(num_channels=192, num_res_blocks=3, attention_resolutions=(32, 16, 8), new_attention_order=True)
_LARGE = dict(num_channels=256, num_res_blocks=2, attention_resolutions=(32, 16, 8), new_attention_order=False)

# Constructor arguments of the five published checkpoints.
PUBLISHED = {
    '64': dict(_SMALL, image_size=64, channel_mult=(1, 2, 3, 4), class_cond=True, num_head_channels=64),
    '128': dict(_LARGE, image_size=128, channel_mult=(1, 1, 2, 3, 4), class_cond=True, num_heads=4),
    '256': dict(_LARGE, image_size=256, channel_mult=(1, 1, 2, 2, 4, 4), class_cond=True, num_head_channels=64),
    '256-uncond': dict(_LARGE, image_size=256, channel_mult=(1, 1, 2, 2, 4, 4), class_cond=False, num_head_channels=64),
    '512': dict(_LARGE, image_size=512, channel_mult=(0.5, 1, 1, 2, 2, 4, 4), class_cond=True, num_head_channels=64),
}


def _sinusoid(t, width):
    """Cosines, then sines, of t at geometrically spaced frequencies; float32 whatever the model's precision is."""
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class _ResBlock(nn.Module):
    """Residual block, modulated by the embedding; `resample` is 'down', 'up' or None."""

    def __init__(self, channels, out_channels, emb_channels, num_groups, resample=None):
        super().__init__()
        self.resample = resample
        conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.in_layers = nn.Sequential(nn.GroupNorm(num_groups, channels), nn.SiLU(), conv1)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, 2 * out_channels))
        conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        dropout = nn.Identity()  # keeps its place in the numbering
        self.out_layers = nn.Sequential(nn.GroupNorm(num_groups, out_channels), nn.SiLU(), dropout, conv2)
        self.skip_connection = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def _resize(self, x):
        if self.resample == 'down':
            return F.avg_pool2d(x, 2)
        if self.resample == 'up':
            return F.interpolate(x, scale_factor=2, mode='nearest')
        return x

    def forward(self, x, emb):
        norm1, act1, conv1 = self.in_layers
        norm2, act2, dropout, conv2 = self.out_layers
        h = conv1(self._resize(act1(norm1(x))))
        scale, shift = self.emb_layers(emb)[:, :, None, None].chunk(2, dim=1)
        h = norm2(h) * (1 + scale) + shift
        return self.skip_connection(self._resize(x)) + conv2(dropout(act2(h)))


class _Attention(nn.Module):
    """Self-attention over all positions. The order says how the 3C channels of `qkv` are laid out."""

    def __init__(self, channels, num_heads, new_order, num_groups):
        super().__init__()
        self.num_heads, self.new_order = num_heads, new_order
        self.norm = nn.GroupNorm(num_groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x, emb):
        n, c, height, width = x.shape
        d = c // self.num_heads
        qkv = self.qkv(self.norm(x.flatten(2)))
        if self.new_order:  # q, k and v first, then heads in each
            q, k, v = qkv.reshape(n, 3, self.num_heads, d, height * width).unbind(1)
        else:  # heads first, then q, k and v in each
            q, k, v = qkv.reshape(n, self.num_heads, 3, d, height * width).unbind(2)
        weights = (q.transpose(-1, -2) @ k / math.sqrt(d)).softmax(dim=-1)  # (n, heads, query, key)
        h = (v @ weights.transpose(-1, -2)).reshape(n, c, height * width)
        return x + self.proj_out(h).reshape(x.shape)


class _Stage(nn.ModuleList):
    """Layers in a row, each called with the embedding."""

    def forward(self, x, emb):
        for layer in self:
            x = layer(x) if isinstance(layer, nn.Conv2d) else layer(x, emb)
        return x


class ReferenceADM(nn.Module):
    def __init__(
        self,
        image_size,
        num_channels,
        num_res_blocks,
        channel_mult,
        attention_resolutions,
        class_cond,
        num_heads=None,
        num_head_channels=None,
        new_attention_order=False,
        in_channels=3,
        num_groups=32,
        num_classes=1000,
    ):
        super().__init__()
        self.num_channels = num_channels
        emb_channels = 4 * num_channels
        widths = [int(mult * num_channels) for mult in channel_mult]
        last = len(widths) - 1

        def res(channels, out_channels, resample=None):
            return _ResBlock(channels, out_channels, emb_channels, num_groups, resample)

        def attention(channels):
            heads = num_heads if num_head_channels is None else channels // num_head_channels
            return _Attention(channels, heads, new_attention_order, num_groups)

        def res_and_attention(level, channels):
            attends = image_size // 2**level in attention_resolutions
            return [res(channels, widths[level])] + ([attention(widths[level])] if attends else [])

        linears = nn.Linear(num_channels, emb_channels), nn.Linear(emb_channels, emb_channels)
        self.time_embed = nn.Sequential(linears[0], nn.SiLU(), linears[1])
        self.label_emb = nn.Embedding(num_classes, emb_channels) if class_cond else None

        ch = widths[0]
        self.input_blocks = nn.ModuleList([_Stage([nn.Conv2d(in_channels, ch, 3, padding=1)])])
        skips = [ch]
        for level, width in enumerate(widths):
            for _ in range(num_res_blocks):
                self.input_blocks.append(_Stage(res_and_attention(level, ch)))
                ch = width
                skips.append(ch)
            if level < last:
                self.input_blocks.append(_Stage([res(ch, ch, 'down')]))
                skips.append(ch)

        self.middle_block = _Stage([res(ch, ch), attention(ch), res(ch, ch)])

        self.output_blocks = nn.ModuleList()
        for level in range(last, -1, -1):
            for i in range(num_res_blocks + 1):
                layers = res_and_attention(level, ch + skips.pop())
                ch = widths[level]
                if level > 0 and i == num_res_blocks:
                    layers.append(res(ch, ch, 'up'))
                self.output_blocks.append(_Stage(layers))

        self.out = nn.Sequential(nn.GroupNorm(num_groups, ch), nn.SiLU(), nn.Conv2d(ch, 2 * in_channels, 3, padding=1))

    def forward(self, x, t, y=None):
        """The predicted noise and the variance's interpolation, stacked on the channel axis."""
        emb = self.time_embed(_sinusoid(t, self.num_channels).to(x.dtype))
        if self.label_emb is not None:
            emb = emb + self.label_emb(y)
        h, skips = x, []
        for block in self.input_blocks:
            h = block(h, emb)
            skips.append(h)
        h = self.middle_block(h, emb)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb)
        return self.out(h)
