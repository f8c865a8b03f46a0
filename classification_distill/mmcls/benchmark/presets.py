"""Published shapes with random weights, so that a benchmark needs no download."""

from pathlib import Path

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from ..models.guided_diffusion import VARIANTS

_GOOGLE = {
    'layers_per_block': 2,
    'attention_head_dim': None,
    'downsample_padding': 0,
    'flip_sin_to_cos': False,
    'freq_shift': 1,
    'norm_eps': 1e-6,
}
DDPM_CIFAR10_32 = _GOOGLE | {
    'sample_size': 32,
    'block_out_channels': (128, 256, 256, 256),
    'down_block_types': ('DownBlock2D', 'AttnDownBlock2D', 'DownBlock2D', 'DownBlock2D'),
    'up_block_types': ('UpBlock2D', 'UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'),
}
DDPM_EMA_CELEBAHQ_256 = _GOOGLE | {
    'sample_size': 256,
    'block_out_channels': (128, 128, 256, 256, 512, 512),
    'down_block_types': (*('DownBlock2D',) * 4, 'AttnDownBlock2D', 'DownBlock2D'),
    'up_block_types': ('UpBlock2D', 'AttnUpBlock2D', *('UpBlock2D',) * 4),
}

# Those of the hub that configs name.
HUB = {'google/ddpm-cifar10-32': DDPM_CIFAR10_32, 'google/ddpm-ema-celebahq-256': DDPM_EMA_CELEBAHQ_256}

_CHOSEN = {
    'timestep_policy': {'type': 'ReinforcePolicy'},
    'distill_loss': {'type': 'HintLoss'},
    'task_head': {'type': 'PooledMLPHead', 'num_classes': 10},
}
_DENSE = {'timestep_policy': {'type': 'FixedPolicy'}, 'distill_loss': {'type': 'HintLoss', 'pooled': False}}
_RESNET18 = {'type': 'ResNet', 'depth': 18, 'out_indices': (3,)}

# name: (U-Net, rest of the model, images a batch on a CPU and on a GPU)
PRESETS = {
    'cifar10': (DDPM_CIFAR10_32, _CHOSEN | {'backbone': _RESNET18 | {'type': 'ResNet_CIFAR'}}, (32, 128)),
    'celebahq': (DDPM_EMA_CELEBAHQ_256, _DENSE | {'backbone': _RESNET18 | {'depth': 50}}, (2, 32)),
    'adm64': (VARIANTS['64'].unet_config(), _CHOSEN | {'backbone': _RESNET18}, (4, 64)),
    'adm256': (VARIANTS['256-uncond'].unet_config(), _CHOSEN | {'backbone': _RESNET18}, (1, 32)),
}


def preset_model(name: str, folder: Path) -> dict:
    """Write the preset's teacher, with random weights, to ``folder``, and give the config of its RepFusion model."""
    unet, rest, _ = PRESETS[name]
    torch.manual_seed(0)
    DDPMPipeline(UNet2DModel(**unet), DDPMScheduler()).save_pretrained(folder)
    return {
        'type': 'RepFusion',
        'teacher': {'type': 'DiffusersTeacher', 'pretrained': str(folder)},
        'standardizer': {},
        'data_preprocessor': {'mean': [127.5] * 3, 'std': [127.5] * 3},
        **rest,
    }
