"""What stands in for a part of a text-to-image pipeline: CleanDIFT's U-Net, and other autoencoders."""

import diffusers
import pytest
import tiny_pipelines
import tiny_text_pipelines
import torch
from mmcls.errors import RepFusionError
from mmcls.models.classifiers import RepFusion
from mmcls.models.teachers import TextToImageTeacher
from mmengine.config import Config
from mmpretrain.registry import MODELS
from safetensors.torch import load_file, save_file
from support import ROOT


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp('stand_ins')
    torch.manual_seed(0)
    tiny_pipelines.stable_diffusion(root / 'sd')
    for name in ('sdxl', 'flux', 'kandinsky', 'deepfloyd', 'qwen'):
        tiny_text_pipelines.write(getattr(tiny_text_pipelines, name), root / name)
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.getbasetemp() / 'stand_ins'))


@pytest.fixture
def clean(folders, tmp_path):
    """A U-Net of the same shape with other weights, as CompVis/cleandift holds them."""
    unet = diffusers.UNet2DConditionModel.from_pretrained(folders / 'sd/unet')
    generator = torch.Generator().manual_seed(1)
    state = {
        name: value + torch.randn(value.shape, generator=generator) / 10 for name, value in unet.state_dict().items()
    }
    save_file(state, tmp_path / 'cleandift.safetensors')
    unet.load_state_dict(state)
    return tmp_path / 'cleandift.safetensors', unet.eval()


@pytest.mark.parametrize('suffix', ['.safetensors', '.pt'])
def test_cleandift_reads_the_clean_image_at_its_own_timestep(suffix, folders, clean, tmp_path):
    path, unet = clean
    if suffix == '.pt':
        torch.save(load_file(path), tmp_path / 'cleandift.pt')
    teacher = TextToImageTeacher(str(folders / 'sd'), ['up_blocks.0'], cleandift=str(path.with_suffix(suffix)))
    assert 'M parameters of unet, from' in teacher.reads
    images, t = torch.rand(3, 3, 16, 16) * 2 - 1, torch.tensor([0, 500, 999])
    (feature,) = teacher(images, t).values()
    seen = {}
    unet.up_blocks[0].register_forward_hook(lambda m, a, out: seen.update(out=out))
    with torch.no_grad():
        told = teacher.held['prompt'].encoder_hidden_states.expand(3, -1, -1)
        unet(teacher.encode(images), 261, encoder_hidden_states=told)
    assert torch.allclose(feature, seen['out'], atol=1e-5)
    assert torch.equal(feature, teacher(images, t.flip(0))['up_blocks.0'])


def test_weights_of_another_network_are_refused(folders, clean, tmp_path):
    path, _ = clean
    state = load_file(path)
    state['other'] = state.pop('conv_in.weight')
    state['conv_in.bias'] = torch.rand(9)
    save_file(state, tmp_path / 'wrong.safetensors')
    with pytest.raises(RepFusionError) as error:
        TextToImageTeacher(str(folders / 'sd'), cleandift=str(tmp_path / 'wrong.safetensors'))
    for part in ('Missing (1): conv_in.weight', r'conv_in.bias is (9,), expected (8,)', 'Not in the model (1): other'):
        assert part in str(error.value)
    with pytest.raises(FileNotFoundError, match='hf download CompVis/cleandift'):
        TextToImageTeacher(str(folders / 'sd'), cleandift=str(tmp_path / 'none.safetensors'))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RepFusionError, match='is damaged'):
        TextToImageTeacher(str(folders / 'sd'), cleandift=str(path))
    with pytest.raises(RepFusionError, match="leave out noise='forward'"):
        TextToImageTeacher(str(folders / 'sd'), cleandift=str(clean[0]), noise='forward')


def test_no_policy_chooses_a_timestep_for_cleandift(folders, clean):
    config = Config.fromfile(ROOT / 'classification_distill/configs/digits-hint/ddpm-r18_hint.py').model
    config.teacher = {'type': 'TextToImageTeacher', 'pretrained': str(folders / 'sd'), 'cleandift': str(clean[0])}
    config.backbone.update(base_channels=4, stem_channels=4)
    config.image_size = 32
    for policy in ('ReinforcePolicy', 'UniformPolicy'):
        config.timestep_policy = {'type': policy}
        with pytest.raises(
            RepFusionError, match=rf"{policy} has nothing to choose: set .*type='FixedPolicy', timestep=0"
        ):
            MODELS.build(config)
    config.timestep_policy = {'type': 'FixedPolicy', 'timestep': 0}
    assert isinstance(MODELS.build(config), RepFusion)


def tiny_autoencoder(folder, channels=4, **settings) -> diffusers.AutoencoderTiny:
    torch.manual_seed(0)
    autoencoder = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=channels,
        **settings,
    )
    autoencoder.save_pretrained(folder)
    return autoencoder.eval()


@pytest.mark.parametrize('name', ['sdxl', 'flux', 'sd'])
def test_a_tiny_autoencoder_gives_what_its_pipeline_would_decode(name, folders, tmp_path):
    """Its latents are scaled already: none of the scale and shift of the autoencoder that it stands in for."""
    tiny = tiny_autoencoder(tmp_path / 'tiny')
    options = {'image_size': 64} if name == 'flux' else {}
    teacher = TextToImageTeacher(str(folders / name), autoencoder=str(tmp_path / 'tiny'), **options)
    images = torch.rand(2, 3, *teacher.sample_size) * 2 - 1
    with torch.no_grad():
        assert torch.equal(teacher.encode(images), tiny.encode(images).latents)
    (feature,) = teacher(images, torch.tensor([0, 999])).values()
    assert feature.isfinite().all()
    assert not [key for key, _ in teacher.held['autoencoder'].named_parameters() if key.startswith('decoder')]


def test_another_autoencoder_of_the_same_kind(folders, tmp_path):
    given = tiny_pipelines.autoencoder(scaling_factor=0.5)
    given.save_pretrained(tmp_path / 'vae')
    teacher = TextToImageTeacher(str(folders / 'sdxl'), autoencoder=str(tmp_path / 'vae'))
    images = torch.rand(1, 3, *teacher.sample_size)
    with torch.no_grad():
        assert torch.allclose(teacher.encode(images), given.encode(images).latent_dist.mode() * 0.5)


@pytest.mark.parametrize(('name', 'channels', 'message'), [
    ('sdxl', 16, 'takes 4 channels, the latents of .*tiny.* have 16'),
    ('kandinsky', 4, 'stands in for an AutoencoderKL; the pipeline has none'),
    ('deepfloyd', 4, 'the pipeline has none: leave it out'),
    ('qwen', 4, 'the pipeline has AutoencoderKLQwenImage'),
])  # fmt: skip
def test_autoencoders_that_do_not_fit_are_refused(name, channels, message, folders, tmp_path):
    tiny_autoencoder(tmp_path / 'tiny', channels)
    with pytest.raises(RepFusionError, match=message):
        TextToImageTeacher(str(folders / name), autoencoder=str(tmp_path / 'tiny'))


def test_what_is_no_autoencoder_is_refused(folders, tmp_path):
    with pytest.raises(
        RepFusionError, match='is of class UNet2DConditionModel, expected AutoencoderKL or AutoencoderTiny'
    ):
        TextToImageTeacher(str(folders / 'sd'), autoencoder=str(folders / 'sd/unet'))
    with pytest.raises(FileNotFoundError, match='neither a folder of an AutoencoderKL or AutoencoderTiny here'):
        TextToImageTeacher(str(folders / 'sd'), autoencoder=str(tmp_path / 'none'))
