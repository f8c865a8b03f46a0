import sys
from pathlib import Path

import mmcls  # noqa: F401
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from mmengine.registry import init_default_scope
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tools'))


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')  # the commands set 1; undone after the test
    init_default_scope('mmpretrain')
    torch.manual_seed(0)


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


@pytest.fixture(scope='session')
def pipeline_folder(tmp_path_factory) -> str:
    """A real, tiny diffusers pipeline with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('pipeline')
    DDPMPipeline(tiny_unet(), DDPMScheduler()).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope='session')
def digits(tmp_path_factory) -> Path:
    from prepare_data.digits import write_digits

    folder = tmp_path_factory.mktemp('data') / 'digits'
    write_digits(folder)
    return folder
