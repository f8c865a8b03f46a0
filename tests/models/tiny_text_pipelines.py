"""Tiny text-to-image pipelines of each family, with random weights, by the real classes in the real layout."""

from pathlib import Path

import diffusers
import torch
import transformers
from tiny_pipelines import autoencoder, clip_tokenizer
from tokenizers.pre_tokenizers import ByteLevel


def _clip(width: int, projection: int | None = None):
    config = transformers.CLIPTextConfig(
        hidden_size=width,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=2,
        vocab_size=4,
        bos_token_id=0,
        eos_token_id=1,
        projection_dim=projection or width,
    )
    kind = transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel
    return kind(config).eval()


def _t5(width: int = 16, kind: str = 'T5'):
    config = getattr(transformers, f'{kind}Config')(
        d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=32, feed_forward_proj='gated-gelu'
    )
    return getattr(transformers, f'{kind}EncoderModel')(config).eval()


def _t5_tokenizer():
    return transformers.T5TokenizerFast(extra_ids=5)


def _gemma():
    config = transformers.Gemma2Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return transformers.Gemma2Model(config).eval()


def sdxl(folder: Path) -> None:
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D'),
        up_block_types=('CrossAttnUpBlock2D', 'UpBlock2D'),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type='text_time',
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=6 * 8 + 12,
        cross_attention_dim=8 + 12,
        norm_num_groups=4,
    )
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear', steps_offset=1, timestep_spacing='leading'
    )
    diffusers.StableDiffusionXLPipeline(
        vae=autoencoder(scaling_factor=0.13025),
        text_encoder=_clip(8),
        text_encoder_2=_clip(12, 12),
        tokenizer=clip_tokenizer(folder, 77),
        tokenizer_2=clip_tokenizer(folder, 77),
        unet=unet,
        scheduler=scheduler,
        add_watermarker=False,
    ).save_pretrained(folder)


def sd3(folder: Path) -> None:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=4,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=24,
        caption_projection_dim=16,
        pooled_projection_dim=20,
        out_channels=4,
        pos_embed_max_size=12,
        qk_norm='rms_norm',
        dual_attention_layers=(0, 1),
    )
    diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=_clip(8, 8),
        tokenizer=clip_tokenizer(folder),
        text_encoder_2=_clip(12, 12),
        tokenizer_2=clip_tokenizer(folder),
        text_encoder_3=_t5(24),
        tokenizer_3=_t5_tokenizer(),
    ).save_pretrained(folder)


def flux(folder: Path, guidance: bool = True) -> None:
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=3,
        num_single_layers=4,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=8,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 4, 8),
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0 if guidance else 1.0, use_dynamic_shifting=guidance)
    diffusers.FluxPipeline(
        scheduler=scheduler,
        vae=autoencoder(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=_clip(8),
        tokenizer=clip_tokenizer(folder),
        text_encoder_2=_t5(16),
        tokenizer_2=_t5_tokenizer(),
        transformer=transformer,
    ).save_pretrained(folder)


def schnell(folder: Path) -> None:
    flux(folder, guidance=False)


def pixart(folder: Path, kind: str = 'PixArtAlphaPipeline') -> None:
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=8,
        num_layers=4,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=16,
        in_channels=4,
        cross_attention_dim=16,
        out_channels=8,
        attention_bias=True,
        use_additional_conditions=False,
    )
    getattr(diffusers, kind)(
        tokenizer=_t5_tokenizer(),
        text_encoder=_t5(),
        vae=autoencoder(scaling_factor=0.18215),
        transformer=transformer,
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    ).save_pretrained(folder)


def pixart_sigma(folder: Path) -> None:
    pixart(folder, 'PixArtSigmaPipeline')


def sana(folder: Path) -> None:
    transformer = diffusers.SanaTransformer2DModel(
        sample_size=16,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
    )
    vae = diffusers.AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=('ResBlock', 'EfficientViTBlock'),
        decoder_block_types=('ResBlock', 'EfficientViTBlock'),
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        downsample_block_type='conv',
        upsample_block_type='interpolate',
        decoder_norm_types='rms_norm',
        decoder_act_fns='silu',
        scaling_factor=0.41407,
    )
    scheduler = diffusers.DPMSolverMultistepScheduler(
        flow_shift=3.0, use_flow_sigmas=True, prediction_type='flow_prediction'
    )
    diffusers.SanaPipeline(
        tokenizer=transformers.GemmaTokenizer(),
        text_encoder=_gemma(),
        vae=vae,
        transformer=transformer,
        scheduler=scheduler,
    ).save_pretrained(folder)


def kandinsky(folder: Path) -> None:
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=8,
        addition_embed_type='image',
        addition_embed_type_num_heads=4,
        attention_head_dim=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=8,
        down_block_types=('ResnetDownsampleBlock2D', 'SimpleCrossAttnDownBlock2D'),
        up_block_types=('SimpleCrossAttnUpBlock2D', 'ResnetUpsampleBlock2D'),
        mid_block_type='UNetMidBlock2DSimpleCrossAttn',
        encoder_hid_dim=12,
        encoder_hid_dim_type='image_proj',
        resnet_time_scale_shift='scale_shift',
    )
    movq = diffusers.VQModel(
        block_out_channels=(32, 64),
        down_block_types=('DownEncoderBlock2D', 'AttnDownEncoderBlock2D'),
        up_block_types=('AttnUpDecoderBlock2D', 'UpDecoderBlock2D'),
        latent_channels=4,
        num_vq_embeddings=16,
        norm_type='spatial',
        vq_embed_dim=4,
    )
    scheduler = diffusers.DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule='linear', variance_type='learned_range'
    )
    diffusers.KandinskyV22Pipeline(unet=unet, scheduler=scheduler, movq=movq).save_pretrained(folder)


def deepfloyd(folder: Path) -> None:
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=3,
        out_channels=6,
        addition_embed_type='text',
        addition_embed_type_num_heads=2,
        attention_head_dim=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=32,
        cross_attention_norm='group_norm',
        act_fn='gelu',
        encoder_hid_dim=16,
        down_block_types=('ResnetDownsampleBlock2D', 'SimpleCrossAttnDownBlock2D'),
        up_block_types=('SimpleCrossAttnUpBlock2D', 'ResnetUpsampleBlock2D'),
        mid_block_type='UNetMidBlock2DSimpleCrossAttn',
        resnet_time_scale_shift='scale_shift',
    )
    diffusers.IFPipeline(
        tokenizer=_t5_tokenizer(),
        text_encoder=_t5(),
        unet=unet,
        scheduler=diffusers.DDPMScheduler(variance_type='learned_range', beta_schedule='squaredcos_cap_v2'),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def auraflow(folder: Path) -> None:
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=2,
        num_single_dit_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        out_channels=4,
        pos_embed_max_size=64,
    )
    diffusers.AuraFlowPipeline(
        tokenizer=_t5_tokenizer(),
        text_encoder=_t5(16, 'UMT5'),
        vae=autoencoder(scaling_factor=0.13025),
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=1.73),
    ).save_pretrained(folder)


def lumina2(folder: Path) -> None:
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        hidden_size=16,
        num_layers=3,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=4,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(64, 32, 32),
        cap_feat_dim=16,
    )
    diffusers.Lumina2Pipeline(
        tokenizer=transformers.GemmaTokenizer(),
        text_encoder=_gemma(),
        vae=autoencoder(scaling_factor=0.3611, shift_factor=0.1159),
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=6.0),
    ).save_pretrained(folder)


def qwen(folder: Path) -> None:
    transformer = diffusers.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=4,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
    )
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.1] * 4,
        latents_std=[2.0] * 4,
    )
    text = {
        'hidden_size': 16,
        'intermediate_size': 16,
        'num_hidden_layers': 1,
        'num_attention_heads': 2,
        'num_key_value_heads': 2,
        'vocab_size': 300,
        'bos_token_id': 0,
        'eos_token_id': 0,
        'rope_parameters': {'rope_type': 'default', 'mrope_section': [1, 1, 2], 'rope_theta': 10000.0},
    }
    vision = {'depth': 1, 'hidden_size': 16, 'intermediate_size': 16, 'num_heads': 2, 'out_hidden_size': 16}
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    letters = {letter: i + 1 for i, letter in enumerate(sorted(ByteLevel.alphabet()))}
    diffusers.QwenImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.02),
        vae=vae,
        text_encoder=transformers.Qwen2_5_VLForConditionalGeneration(config).eval(),
        tokenizer=transformers.Qwen2Tokenizer(vocab={'<|endoftext|>': 0} | letters, merges=[]),
        transformer=transformer,
    ).save_pretrained(folder)


FAMILIES = (sdxl, sd3, flux, schnell, pixart, pixart_sigma, sana, kandinsky, deepfloyd, auraflow, lumina2, qwen)


def write(kind, folder: Path) -> Path:
    torch.manual_seed(0)
    kind(folder)
    return folder
