"""Tiny pipelines of each family, with random weights, made by the real diffusers classes in the real layout."""

import json
from pathlib import Path

from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    LDMPipeline,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    VQModel,
)
from support import tiny_unet
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer


def autoencoder(**settings) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=('DownEncoderBlock2D',) * 2,
        up_block_types=('UpDecoderBlock2D',) * 2,
        latent_channels=4,
        norm_num_groups=4,
        **settings,
    ).eval()


def pixel(folder: Path) -> None:
    DDPMPipeline(tiny_unet(), DDPMScheduler()).save_pretrained(folder)


def class_conditional(folder: Path) -> None:
    DDPMPipeline(tiny_unet(num_class_embeds=1000), DDPMScheduler()).save_pretrained(folder)


def latent(folder: Path) -> None:
    vqvae = VQModel(
        block_out_channels=(8, 8),
        down_block_types=('DownEncoderBlock2D',) * 2,
        up_block_types=('UpDecoderBlock2D',) * 2,
        latent_channels=3,
        norm_num_groups=4,
        num_vq_embeddings=16,
    )
    LDMPipeline(vqvae, tiny_unet(), DDIMScheduler()).save_pretrained(folder)


def clip_tokenizer(folder: Path, length: int = 7) -> CLIPTokenizer:
    vocabulary = folder.with_name(folder.name + '_vocabulary')
    vocabulary.mkdir(parents=True, exist_ok=True)
    tokens = ['<|startoftext|>', '<|endoftext|>', 'a', 'a</w>']
    (vocabulary / 'vocab.json').write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (vocabulary / 'merges.txt').write_text('#version: 0.2\n')
    return CLIPTokenizer.from_pretrained(vocabulary, model_max_length=length)


def stable_diffusion(folder: Path) -> None:
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=('CrossAttnDownBlock2D', 'DownBlock2D'),
        up_block_types=('UpBlock2D', 'CrossAttnUpBlock2D'),
        cross_attention_dim=12,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    text = CLIPTextConfig(
        hidden_size=12, intermediate_size=16, num_attention_heads=2, num_hidden_layers=1, vocab_size=4, eos_token_id=1
    )
    StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=CLIPTextModel(text),
        tokenizer=clip_tokenizer(folder),
        unet=unet,
        scheduler=PNDMScheduler(skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def dit(folder: Path) -> None:
    transformer = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=3, sample_size=8
    )
    DiTPipeline(transformer, autoencoder(), DDIMScheduler()).save_pretrained(folder)
    # facebook/DiT-XL-2-256 names the class that diffusers once had for it.
    for path, place in ((folder / 'model_index.json', ('transformer', 1)), (folder / 'transformer/config.json', None)):
        config = json.loads(path.read_text())
        if place:
            config[place[0]][place[1]] = 'Transformer2DModel'
        else:
            config['_class_name'] = 'Transformer2DModel'
        path.write_text(json.dumps(config))
