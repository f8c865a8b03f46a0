"""SiT's forward pass as its paper and DiT's describe it, in the names of its published checkpoints."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = nn.ModuleDict({'fc1': nn.Linear(width, 4 * width), 'fc2': nn.Linear(4 * width, width)})
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x, condition):
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition)[:, None].chunk(6, dim=2)
        x = x + gate1 * self.attn(_normed(x) * (1 + scale1) + shift1)
        hidden = F.gelu(self.mlp['fc1'](_normed(x) * (1 + scale2) + shift2), approximate='tanh')
        return x + gate2 * self.mlp['fc2'](hidden)


def _normed(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


class SiT(nn.Module):
    """Without the embedding of positions, which is fixed: ``positions`` is given."""

    def __init__(self, positions, width=16, depth=4, heads=2, channels=4, patch=2, out_channels=8, classes=10):
        super().__init__()
        self.x_embedder = nn.ModuleDict({'proj': nn.Conv2d(channels, width, patch, patch)})
        self.t_embedder = nn.ModuleDict(
            {'mlp': nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))}
        )
        self.y_embedder = nn.ModuleDict({'embedding_table': nn.Embedding(classes + 1, width)})
        self.pos_embed = nn.Parameter(positions)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.final_layer = nn.ModuleDict(
            {
                'adaLN_modulation': nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width)),
                'linear': nn.Linear(width, patch * patch * out_channels),
            }
        )

    def block_outputs(self, x, time, class_embedding):
        frequencies = torch.exp(-math.log(10000) * torch.arange(128) / 128)
        angles = time[:, None].float() * frequencies
        condition = self.t_embedder['mlp'](torch.cat([angles.cos(), angles.sin()], 1)) + class_embedding
        x = self.x_embedder['proj'](x).flatten(2).transpose(1, 2) + self.pos_embed
        outputs = []
        for block in self.blocks:
            x = block(x, condition)
            outputs.append(x)
        return outputs
