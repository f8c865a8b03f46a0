"""Published text-to-image models at full size, without weights: parameters, shapes and FLOPs."""

import inspect
import json

import diffusers
import pytest
import torch
from mmcls.models.teachers import TextToImageTeacher
from mmcls.models.teachers import text_to_image as module
from torch.utils.flop_counter import FlopCounterMode

KL = {
    'block_out_channels': (128, 256, 512, 512),
    'down_block_types': ('DownEncoderBlock2D',) * 4,
    'up_block_types': ('UpDecoderBlock2D',) * 4,
    'layers_per_block': 2,
}
SDXL = {
    'sample_size': 128,
    'block_out_channels': (320, 640, 1280),
    'down_block_types': ('DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'),
    'up_block_types': ('CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'),
    'attention_head_dim': (5, 10, 20),
    'use_linear_projection': True,
    'addition_embed_type': 'text_time',
    'addition_time_embed_dim': 256,
    'transformer_layers_per_block': (1, 2, 10),
    'projection_class_embeddings_input_dim': 2816,
    'cross_attention_dim': 2048,
}
SDXL_TOLD = {'text_embeds': (1, 1280), 'time_ids': (1, 6)}
PIXART = {'sample_size': 64, 'use_additional_conditions': False, 'caption_channels': 4096}
SD3 = {
    'sample_size': 128,
    'num_layers': 24,
    'num_attention_heads': 24,
    'caption_projection_dim': 1536,
    'pos_embed_max_size': 192,
}
FULL_SIZE = {  # pipeline, denoiser and its config, latent channels, what it is told, parameters, layer, kept, GFLOP
    'SDXL': (
        ('StableDiffusionXLPipeline', 'UNet2DConditionModel', SDXL, 4),
        {'encoder_hidden_states': (1, 77, 2048), **{f'added_cond_kwargs/{k}': v for k, v in SDXL_TOLD.items()}},
        (2_567_463_684, 'up_blocks.0.attentions.0.transformer_blocks.7', (1280, 32), 2450, 846),
    ),
    'SD 3 medium': (
        ('StableDiffusion3Pipeline', 'SD3Transformer2DModel', SD3, 16),
        {'encoder_hidden_states': (1, 333, 4096), 'pooled_projections': (1, 2048)},
        (2_028_328_000, 'transformer_blocks.12.norm1', (1536, 16), 1119, 1073),
    ),
    'PixArt-Sigma': (
        ('PixArtSigmaPipeline', 'PixArtTransformer2DModel', PIXART, 4),
        {'encoder_hidden_states': (1, 300, 4096), 'encoder_attention_mask': (1, 300)},
        (610_856_096, 'transformer_blocks.13', (1152, 16), 313, 646),
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', FULL_SIZE)
def test_full_size(name, tmp_path, monkeypatch):
    (pipeline, denoiser, config, channels), told, (parameters, layer, info, kept, gflop) = FULL_SIZE[name]
    part = 'unet' if 'UNet' in denoiser else 'transformer'
    with torch.device('meta'):
        network = getattr(diffusers, denoiser)(**config)
        autoencoder = diffusers.AutoencoderKL(**KL, latent_channels=channels)
    assert sum(p.numel() for p in network.parameters()) == parameters
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler() if channels == 16 else diffusers.DDPMScheduler()
    scheduler.save_pretrained(tmp_path / 'scheduler')
    index = {part: ['diffusers', denoiser], 'vae': ['diffusers', 'AutoencoderKL']}
    index |= {'scheduler': ['diffusers', type(scheduler).__name__]}
    further = inspect.signature(getattr(diffusers, pipeline).__init__).parameters.keys() - {'self', *index}
    index |= {key: ['transformers', 'CLIPTextModel'] for key in further if key.startswith(('text', 'token'))}
    index |= {key: [None, None] for key in further if key in ('feature_extractor', 'image_encoder')}
    (tmp_path / 'model_index.json').write_text(json.dumps({'_class_name': pipeline} | index))
    x = 'sample' if part == 'unet' else 'hidden_states'
    arguments = {key: torch.zeros(shape) for key, shape in told.items()}
    arguments |= {x: torch.zeros(1), 'timestep': torch.tensor([999.0]), 'first_timestep': 999.0}
    monkeypatch.setattr(module, 'ask', lambda *args: arguments)
    monkeypatch.setattr(module.PipelineFiles, 'component', lambda files, name: autoencoder)
    monkeypatch.setattr(module.PipelineFiles, 'denoiser', lambda files: (part, network))
    monkeypatch.setattr(module.PipelineFiles, 'describe', lambda files, name, network: '')
    monkeypatch.setattr(module.PipelineFiles, 'load', lambda files, name, network: None)
    teacher = TextToImageTeacher(str(tmp_path), image_size=512)
    assert teacher.feature_info == {layer: info}
    assert sum(p.numel() for p in teacher.network.parameters()) / 1e6 == pytest.approx(kept, rel=0.01)
    images = torch.zeros(1, 3, 512, 512, device='meta')
    with FlopCounterMode(display=False) as early:
        teacher(images, torch.zeros(1, dtype=torch.int64, device='meta'))
    with FlopCounterMode(display=False) as encoding, torch.no_grad():
        teacher.encode(images)
    assert (early.get_total_flops() - encoding.get_total_flops()) / 1e9 == pytest.approx(gflop, rel=0.03)
