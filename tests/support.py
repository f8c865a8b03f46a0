"""What tests in several folders use; every folder's ``conftest`` has the same name, so nothing is imported from one."""

import runpy
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from diffusers import UNet2DModel
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]


def door(name: str, *arguments) -> None:
    """Call a command of tools/ in this process."""
    with patch.object(sys, 'argv', [f'{name}.py', *map(str, arguments)]):
        runpy.run_path(str(ROOT / 'tools' / f'{name}.py'), run_name='__main__')


def tiny_unet(**settings) -> UNet2DModel:
    return UNet2DModel(
        **{
            'sample_size': 8,
            'block_out_channels': (8, 16),
            'layers_per_block': 1,
            'down_block_types': ('DownBlock2D', 'AttnDownBlock2D'),
            'up_block_types': ('AttnUpBlock2D', 'UpBlock2D'),
            'attention_head_dim': 8,
            'norm_num_groups': 4,
        }
        | settings
    )


def read_in_full_forward(network, layers, x, t, **settings) -> tuple[dict, dict]:
    """Features of the layers in one whole forward pass, and the FLOPs done when each was reached."""
    features, work = {}, {}

    def reader(layer):
        def read(module, args, output):
            features[layer] = output[0] if isinstance(output, tuple) else output
            work[layer] = counter.get_total_flops()

        return read

    handles = [network.get_submodule(layer).register_forward_hook(reader(layer)) for layer in layers]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x, t, **settings)
    for handle in handles:
        handle.remove()
    return features, work
