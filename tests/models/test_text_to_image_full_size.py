"""Published text-to-image models at full size, without weights: parameters, shapes and FLOPs."""

import inspect
import json
from dataclasses import dataclass

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
PIXART = {'sample_size': 64, 'use_additional_conditions': False, 'caption_channels': 4096}
SD3 = {
    'sample_size': 128,
    'num_layers': 24,
    'num_attention_heads': 24,
    'caption_projection_dim': 1536,
    'pos_embed_max_size': 192,
}
SD35_MEDIUM = SD3 | {'pos_embed_max_size': 384, 'qk_norm': 'rms_norm', 'dual_attention_layers': tuple(range(13))}
SD35_LARGE = SD3 | {
    'num_layers': 38,
    'num_attention_heads': 38,
    'caption_projection_dim': 2432,
    'qk_norm': 'rms_norm',
}
# Kandinsky's and IF's U-Nets: attention to the text without blocks of transformers.
SIMPLE = {
    'down_block_types': ('ResnetDownsampleBlock2D', *('SimpleCrossAttnDownBlock2D',) * 3),
    'up_block_types': (*('SimpleCrossAttnUpBlock2D',) * 3, 'ResnetUpsampleBlock2D'),
    'mid_block_type': 'UNetMidBlock2DSimpleCrossAttn',
    'layers_per_block': 3,
    'attention_head_dim': 64,
    'resnet_time_scale_shift': 'scale_shift',
}
KANDINSKY = SIMPLE | {
    'sample_size': 64,
    'out_channels': 8,
    'block_out_channels': (384, 768, 1152, 1536),
    'cross_attention_dim': 768,
    'addition_embed_type': 'image',
    'encoder_hid_dim': 1280,
    'encoder_hid_dim_type': 'image_proj',
}
IF_XL = SIMPLE | {
    'sample_size': 64,
    'in_channels': 3,
    'out_channels': 6,
    'block_out_channels': (704, 1408, 2112, 2816),
    'cross_attention_dim': 2816,
    'cross_attention_norm': 'group_norm',
    'encoder_hid_dim': 4096,
    'addition_embed_type': 'text',
    'addition_embed_type_num_heads': 64,
    'act_fn': 'gelu',
}


@dataclass
class Published:
    """A published model, and what is counted of it.

    Attributes:
        pipeline: Class of its pipeline.
        denoiser: Class of its denoiser.
        config: Its denoiser's, as far as it is not the class's default.
        told: Shapes of what the denoiser is told besides, or values.
        expected: Parameters, default layer, its channels and stride, millions of parameters kept, GFLOP read.
        autoencoder: Its class and config; None where it works on pixels.
        size: Of the images.
    """

    pipeline: str
    denoiser: str
    config: dict
    told: dict
    expected: tuple
    autoencoder: tuple[str, dict] | None = ('AutoencoderKL', KL | {'latent_channels': 4})
    size: int = 512


KL16 = ('AutoencoderKL', KL | {'latent_channels': 16})
MOVQ = ('VQModel', KL | {'latent_channels': 4, 'num_vq_embeddings': 16})
SD3_TOLD = {'encoder_hidden_states': (1, 333, 4096), 'pooled_projections': (1, 2048)}
FLUX_TOLD = {
    'encoder_hidden_states': (1, 512, 4096),
    'pooled_projections': (1, 768),
    'txt_ids': (512, 3),
    'img_ids': (32 * 32, 3),
    'guidance': (1,),
}
QWEN_TOLD = {'encoder_hidden_states': (1, 6, 3584), 'img_shapes': [[(1, 32, 32)]]}
FULL_SIZE = {
    'SD 1.5': Published(
        'StableDiffusionPipeline', 'UNet2DConditionModel', {'sample_size': 64, 'cross_attention_dim': 768},
        {'encoder_hidden_states': (1, 77, 768)},
        (859_520_964, 'mid_block.resnets.1.conv2', (1280, 64), 349, 261)),
    'SDXL': Published(
        'StableDiffusionXLPipeline', 'UNet2DConditionModel', SDXL,
        {'encoder_hidden_states': (1, 77, 2048), 'added_cond_kwargs/text_embeds': (1, 1280),
         'added_cond_kwargs/time_ids': (1, 6)},
        (2_567_463_684, 'up_blocks.0.attentions.0.transformer_blocks.7', (1280, 32), 2450, 846)),
    'SD 3 medium': Published(
        'StableDiffusion3Pipeline', 'SD3Transformer2DModel', SD3, SD3_TOLD,
        (2_028_328_000, 'transformer_blocks.12.norm1', (1536, 16), 1119, 1063), KL16),
    'SD 3.5 medium': Published(
        'StableDiffusion3Pipeline', 'SD3Transformer2DModel', SD35_MEDIUM, SD3_TOLD,
        (2_243_171_520, 'transformer_blocks.12.norm1', (1536, 16), 1334, 1372), KL16),
    'SD 3.5 large': Published(
        'StableDiffusion3Pipeline', 'SD3Transformer2DModel', SD35_LARGE, SD3_TOLD,
        (8_056_627_520, 'transformer_blocks.19.norm1', (2432, 16), 4288, 4010), KL16),
    'FLUX.1-dev': Published(
        'FluxPipeline', 'FluxTransformer2DModel', {'guidance_embeds': True}, FLUX_TOLD,
        (11_901_408_320, 'single_transformer_blocks.9.norm', (3072, 16), 7918, 10571), KL16),
    'PixArt-Sigma': Published(
        'PixArtSigmaPipeline', 'PixArtTransformer2DModel', PIXART,
        {'encoder_hidden_states': (1, 300, 4096), 'encoder_attention_mask': (1, 300)},
        (610_856_096, 'transformer_blocks.13', (1152, 16), 313, 646)),
    'PixArt-alpha, 1024': Published(
        'PixArtAlphaPipeline', 'PixArtTransformer2DModel',
        {'sample_size': 128, 'use_additional_conditions': True, 'caption_channels': 4096},
        {'encoder_hidden_states': (1, 120, 4096), 'encoder_attention_mask': (1, 120),
         'added_cond_kwargs/resolution': (1, 2), 'added_cond_kwargs/aspect_ratio': (1, 1)},
        (611_349_152, 'transformer_blocks.13', (1152, 16), 314, 3255), size=1024),
    'Sana 1.6B': Published(
        'SanaPipeline', 'SanaTransformer2DModel', {},
        {'encoder_hidden_states': (1, 300, 2304), 'encoder_attention_mask': (1, 300)},
        (1_604_462_752, 'transformer_blocks.9', (2240, 32), 825, 421), ('AutoencoderDC', {})),
    'Kandinsky 2.2': Published(
        'KandinskyV22Pipeline', 'UNet2DConditionModel', KANDINSKY,
        {'added_cond_kwargs/image_embeds': (1, 1280), 'encoder_hidden_states': None},
        (1_253_057_288, 'mid_block.resnets.1.conv2', (1536, 64), 520, 242), MOVQ),
    'IF-I XL': Published(
        'IFPipeline', 'UNet2DConditionModel', IF_XL, {'encoder_hidden_states': (1, 77, 4096)},
        (4_304_695_110, 'mid_block.resnets.1.conv2', (2816, 8), 1769, 817), None, size=64),
    'AuraFlow': Published(
        'AuraFlowPipeline', 'AuraFlowTransformer2DModel', {}, {'encoder_hidden_states': (1, 256, 2048)},
        (6_833_439_744, 'single_transformer_blocks.15', (3072, 16), 4097, 6248)),
    'Qwen-Image': Published(
        'QwenImagePipeline', 'QwenImageTransformer2DModel', {}, QWEN_TOLD,
        (20_430_401_088, 'transformer_blocks.29', (3072, 16), 10216, 7397), ('AutoencoderKLQwenImage', {})),
}  # fmt: skip


def write_index(folder, model: Published, part: str) -> None:
    """What a pipeline's folder says of it."""
    flow = part == 'transformer' and 'PixArt' not in model.denoiser
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler() if flow else diffusers.DDPMScheduler()
    scheduler.save_pretrained(folder / 'scheduler')
    index = {part: ['diffusers', model.denoiser], 'scheduler': ['diffusers', type(scheduler).__name__]}
    if model.autoencoder:
        index['movq' if 'Kandinsky' in model.pipeline else 'vae'] = ['diffusers', model.autoencoder[0]]
    further = inspect.signature(getattr(diffusers, model.pipeline).__init__).parameters.keys() - {'self', *index}
    index |= {key: ['transformers', 'CLIPTextModel'] for key in further if key.startswith(('text', 'token'))}
    absent = ('feature_extractor', 'image_encoder', 'safety_checker', 'watermarker')
    index |= {key: [None, None] for key in further if key in absent}
    (folder / 'model_index.json').write_text(json.dumps({'_class_name': model.pipeline} | index))


@pytest.mark.parametrize('name', FULL_SIZE)
def test_full_size(name, tmp_path, monkeypatch):
    model = FULL_SIZE[name]
    parameters, layer, info, kept, gflop = model.expected
    part = 'unet' if 'UNet' in model.denoiser else 'transformer'
    with torch.device('meta'):
        network = getattr(diffusers, model.denoiser)(**model.config)
        autoencoder = model.autoencoder and getattr(diffusers, model.autoencoder[0])(**model.autoencoder[1])
    count = sum(p.numel() for p in network.parameters())
    write_index(tmp_path, model, part)
    x = 'sample' if part == 'unet' else 'hidden_states'
    arguments = {key: torch.zeros(told) if isinstance(told, tuple) else told for key, told in model.told.items()}
    arguments |= {x: torch.zeros(1), 'timestep': torch.tensor([999.0]), 'first_timestep': 999.0}
    monkeypatch.setattr(module, 'ask', lambda *args: arguments)
    monkeypatch.setattr(module.PipelineFiles, 'component', lambda files, name: autoencoder)
    monkeypatch.setattr(module.PipelineFiles, 'denoiser', lambda files: (part, network))
    monkeypatch.setattr(module.PipelineFiles, 'describe', lambda files, name, network: '')
    monkeypatch.setattr(module.PipelineFiles, 'load', lambda files, name, network: None)
    teacher = TextToImageTeacher(str(tmp_path), image_size=model.size)
    images = torch.zeros(1, 3, model.size, model.size, device='meta')
    with FlopCounterMode(display=False) as early:
        teacher(images, torch.zeros(1, dtype=torch.int64, device='meta'))
    with FlopCounterMode(display=False) as encoding, torch.no_grad():
        teacher.encode(images)
    read = (early.get_total_flops() - encoding.get_total_flops()) / 1e9
    assert count == parameters
    assert teacher.feature_info == {layer: info}
    assert sum(p.numel() for p in teacher.network.parameters()) / 1e6 == pytest.approx(kept, rel=0.01)
    assert read == pytest.approx(gflop, rel=0.03)
