"""SiT, REPA and consistency models: t is a noise level, and the networks are told it as they were trained."""

import argparse
from pathlib import Path

import accelerate
import diffusers
import pytest
import torch
from mmcls.apis.teacher import describe_teacher, load_teacher
from mmcls.models.teachers import ConsistencyTeacher, SiTTeacher, sit_teacher
from mmcls.models.teachers.families import find_teacher_type
from sit_reference import SiT
from small_distillation import TRAINED, changed_by_a_resumed_step
from support import ROOT, tiny_unet
from test_text_to_image_full_size import KL
from tiny_pipelines import autoencoder
from torch.utils.flop_counter import FlopCounterMode


@pytest.fixture
def vae(tmp_path):
    autoencoder(scaling_factor=0.18215).save_pretrained(tmp_path / 'vae')
    return str(tmp_path / 'vae')


def checkpoint(path, out_channels, wrapped=False, extra=None) -> SiT:
    torch.manual_seed(0)
    with torch.device('cpu'):
        positions = diffusers.DiTTransformer2DModel(
            num_attention_heads=2, attention_head_dim=8, in_channels=4, num_layers=1, sample_size=8, patch_size=2
        ).pos_embed.pos_embed
    model = SiT(positions.clone(), out_channels=out_channels)
    state = model.state_dict() | (extra or {})
    training = {'model': {}, 'ema': state, 'opt': {}, 'args': argparse.Namespace(encoder_depth=8)}
    torch.save(training if wrapped else state, path)
    return model


@pytest.mark.parametrize(('out_channels', 'wrapped'), [(8, False), (4, True)])
def test_sit_and_repa_are_read_as_published(out_channels, wrapped, vae, tmp_path):
    extra = {'projectors.0.0.weight': torch.rand(3, 3)} if wrapped else None
    reference = checkpoint(tmp_path / 'sit.pt', out_channels, wrapped, extra)
    teacher = SiTTeacher(str(tmp_path / 'sit.pt'), vae, [f'transformer_blocks.{i}' for i in range(4)], num_heads=2)
    images, t = torch.rand(3, 3, 16, 16) * 2 - 1, torch.tensor([0, 261, 999])
    features = teacher(images, t)
    sigma = t / 1000
    mean = reference.y_embedder['embedding_table'].weight[:10].mean(0)
    with torch.no_grad():
        latents = diffusers.AutoencoderKL.from_pretrained(vae).encode(images).latent_dist.mode() * 0.18215
        expected = reference.block_outputs(latents, sigma if wrapped else 1 - sigma, mean)
    for feature, tokens in zip(features.values(), expected, strict=True):
        assert torch.allclose(feature.flatten(2).transpose(1, 2), tokens, atol=1e-5)


@pytest.mark.parametrize(('width', 'depth', 'out_channels', 'parameters', 'layer', 'gflop'), [
    (1152, 28, 8, 749.8, 'transformer_blocks.13', 118.7),  # SiT-XL/2
    (1152, 28, 4, 749.8, 'transformer_blocks.7', 67.8),  # REPA
    (768, 12, 8, None, 'transformer_blocks.5', None),  # SiT-B/2
])  # fmt: skip
def test_full_size(width, depth, out_channels, parameters, layer, gflop, monkeypatch):
    """Published sizes, by tensors that take no memory."""
    with torch.device('meta'):
        network = SiT(torch.zeros(1, 256, width), width=width, depth=depth, classes=1000, out_channels=out_channels)
        kl = diffusers.AutoencoderKL(**KL, latent_channels=4)
    state = {name: torch.zeros(1).expand(tensor.shape) for name, tensor in network.state_dict().items()}
    with accelerate.init_empty_weights(include_buffers=False):
        heads = width // 64
        positions = diffusers.DiTTransformer2DModel(heads, 64, 4, num_layers=1, sample_size=32).pos_embed.pos_embed
    state['pos_embed'] = positions
    monkeypatch.setattr('mmcls.models.teachers.sit_teacher.load_checkpoint', lambda *args, **kwargs: state)
    monkeypatch.setattr('mmcls.models.teachers.sit_teacher.load_autoencoder', lambda name: kl)
    if parameters:
        whole = sit_teacher.convert(state)
        assert sum(p.numel() for p in whole.parameters()) / 1e6 == pytest.approx(parameters, abs=0.1)
    teacher = SiTTeacher('sit.pt')
    assert teacher.feature_info == {layer: (width, 16)}
    if gflop:
        images, t = torch.zeros(1, 3, 256, 256, device='meta'), torch.zeros(1, dtype=torch.int64, device='meta')
        teacher = teacher.to('meta')
        with FlopCounterMode(display=False) as early:
            teacher(images, t)
        with FlopCounterMode(display=False) as encoding, torch.no_grad():
            teacher.encode(images)
        assert (early.get_total_flops() - encoding.get_total_flops()) / 1e9 == pytest.approx(gflop, rel=0.01)


def test_a_tiny_autoencoder_stands_in(tmp_path):
    tiny = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=4)  # fmt: skip
    tiny.save_pretrained(tmp_path / 'tiny')
    checkpoint(tmp_path / 'sit.pt', 8)
    teacher = SiTTeacher(str(tmp_path / 'sit.pt'), str(tmp_path / 'tiny'), num_heads=2)
    images = torch.rand(2, 3, *teacher.sample_size)
    with torch.no_grad():
        assert torch.equal(teacher.encode(images), tiny.encode(images).latents)
    (feature,) = teacher(images, torch.tensor([0, 999])).values()
    assert feature.isfinite().all()


def test_what_is_no_such_checkpoint_is_refused(vae, tmp_path):
    path = tmp_path / 'model.pt'
    torch.save({'layer.weight': torch.rand(2)}, path)
    with pytest.raises(ValueError, match='is no SiT: it has no final_layer'):
        SiTTeacher(str(path), vae)
    checkpoint(path, 8)
    with pytest.raises(ValueError, match='16 wide, none of S, B, L and XL: give num_heads'):
        SiTTeacher(str(path), vae)
    assert describe_teacher(str(path)) == {'type': 'SiTTeacher', 'checkpoint': str(path)}
    checkpoint(path, 8, extra={'blocks.0.attn.q_norm.weight': torch.rand(8)})
    with pytest.raises(ValueError, match='qk_norm'):
        SiTTeacher(str(path), vae, num_heads=2)
    checkpoint(path, 8)
    with pytest.raises(FileNotFoundError, match='neither a folder of an AutoencoderKL or'):
        SiTTeacher(str(path), str(tmp_path / 'none'), num_heads=2)


def test_code_in_a_checkpoint_is_not_run(vae, tmp_path):
    path, mark = tmp_path / 'sit.pt', tmp_path / 'ran'

    class Bomb:
        def __reduce__(self):
            return Path.touch, (mark,)

    torch.save({'x_embedder.proj.weight': Bomb()}, path)
    with pytest.raises(ValueError, match='nothing in it was run'):
        SiTTeacher(str(path), vae)
    assert not mark.exists()


@pytest.fixture
def consistency(tmp_path):
    torch.manual_seed(0)
    unet = tiny_unet(num_class_embeds=10)
    folder = tmp_path / 'consistency'
    diffusers.ConsistencyModelPipeline(unet, diffusers.CMStochasticIterativeScheduler()).save_pretrained(folder)
    return folder


def test_consistency_models_have_their_own_levels(consistency):
    assert find_teacher_type(str(consistency)) == 'ConsistencyTeacher'
    teacher = ConsistencyTeacher(str(consistency), ['up_blocks.0'])
    assert teacher.num_timesteps == 40
    scheduler = diffusers.CMStochasticIterativeScheduler()
    scheduler.set_timesteps(timesteps=list(range(39, -1, -1)))  # its own count, in the order of sampling
    assert torch.allclose(teacher.levels[1].flip(0), scheduler.sigmas[:40], rtol=1e-4)
    assert teacher.levels[0].unique().tolist() == [1]


def test_consistency_models_are_read_as_by_their_pipeline(consistency):
    teacher = load_teacher(consistency, ['up_blocks.0'], class_labels=3)
    pipeline = diffusers.ConsistencyModelPipeline.from_pretrained(consistency)
    seen = {}
    pipeline.unet.up_blocks[0].register_forward_hook(lambda part, args, output: seen.update(output=output))
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 3, 8, 8)
    # Its first step is at the highest level.
    pipeline(num_inference_steps=1, latents=noise, class_labels=[3], output_type='pt')
    x = noise * pipeline.scheduler.init_noise_sigma
    with torch.no_grad():
        feature = teacher._read_layers(teacher.network, x, torch.tensor([39]), torch.tensor([3]))['up_blocks.0']
    assert torch.allclose(feature, seen['output'], atol=1e-4)


def test_every_level_of_a_consistency_model_is_read(consistency):
    for noise in ('none', 'forward'):
        teacher = load_teacher(consistency, noise=noise)
        feature = teacher(torch.rand(3, 3, 8, 8) * 2 - 1, torch.tensor([0, 20, 39]))['mid_block.resnets.1.conv2']
        assert feature.isfinite().all()
        assert (feature[0] - feature[2]).abs().mean() > 0


@pytest.mark.parametrize('name', ['consistency', 'sit'])
def test_a_distillation_and_its_resumption(name, consistency, vae, digits, tmp_path, monkeypatch):
    """A consistency model's policy chooses among its 40 levels."""
    monkeypatch.chdir(ROOT / 'classification_distill')
    teacher = {'type': 'ConsistencyTeacher', 'pretrained': str(consistency)}
    if name == 'sit':
        checkpoint(tmp_path / 'sit.pt', 8)
        teacher = {'type': 'SiTTeacher', 'checkpoint': str(tmp_path / 'sit.pt'), 'autoencoder': vae, 'num_heads': 2}
    assert changed_by_a_resumed_step(teacher | {'noise': 'forward'}, digits, tmp_path) >= TRAINED
