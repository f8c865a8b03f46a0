import inspect
import json
import shutil
from types import SimpleNamespace

import pytest
import tiny_pipelines
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DiTPipeline,
    DiTTransformer2DModel,
    LDMPipeline,
    StableDiffusionPipeline,
    UNet2DModel,
    VQModel,
)
from mmcls.models.teachers.diffusers_teacher import DiffusersTeacher
from mmcls.models.teachers.dit_teacher import DiTTeacher
from mmcls.models.teachers.families import find_teacher_type
from mmcls.models.teachers.latent_teacher import LatentTeacher
from mmcls.models.teachers.text_to_image import TextToImageTeacher
from small_distillation import TRAINED, changed_by_a_resumed_step
from support import ROOT, read_in_full_forward
from torch.utils.flop_counter import FlopCounterMode

MIDDLE = 'mid_block.resnets.1.conv2'
FAMILIES = {
    'pixel': (DiffusersTeacher, DDPMPipeline, ['up_blocks.0.resnets.0', MIDDLE]),
    'class_conditional': (DiffusersTeacher, DDPMPipeline, ['down_blocks.0', MIDDLE]),
    'latent': (LatentTeacher, LDMPipeline, [MIDDLE]),
    'stable_diffusion': (TextToImageTeacher, StableDiffusionPipeline, [MIDDLE, 'mid_block.attentions.0']),
    'dit': (DiTTeacher, DiTPipeline, ['transformer_blocks.1', 'transformer_blocks.0.attn1']),
}


@pytest.fixture(scope='session')
def folders(tmp_path_factory):
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp('families')
    for name in FAMILIES:
        getattr(tiny_pipelines, name)(root / name)
    return root


def conditioning(name, pipeline, size) -> tuple[torch.nn.Module, dict]:
    """The network, and what it takes beside x and t, from the pipeline's own parts and not from the teacher."""
    if name == 'class_conditional':
        table = pipeline.unet.class_embedding
        mean = table.weight.mean(0).detach()
        table.register_forward_hook(lambda module, args, out: mean.expand_as(out))
        return pipeline.unet, {'class_labels': torch.zeros(size, dtype=torch.int64)}
    if name == 'dit':
        for block in pipeline.transformer.transformer_blocks:
            table = block.norm1.emb.class_embedder.embedding_table
            mean = table.weight[:1000].mean(0).detach()
            table.register_forward_hook(lambda module, args, out, mean=mean: mean.expand_as(out))
        return pipeline.transformer, {'class_labels': torch.zeros(size, dtype=torch.int64)}
    if name == 'stable_diffusion':
        embedding, _ = pipeline.encode_prompt([''] * size, 'cpu', 1, False)
        return pipeline.unet, {'encoder_hidden_states': embedding}
    return pipeline.unet, {}


def encode(pipeline, images):
    if isinstance(pipeline, LDMPipeline):
        return pipeline.vqvae.encode(images).latents * pipeline.vqvae.config.scaling_factor
    if hasattr(pipeline, 'vae'):
        return pipeline.vae.encode(images).latent_dist.mean * pipeline.vae.config.scaling_factor
    return images


@pytest.mark.parametrize('name', FAMILIES)
@pytest.mark.parametrize('noise', ['none', 'forward'])
def test_features_and_work_are_those_of_the_full_forward_up_to_the_last_layer(name, noise, folders):
    teacher_class, pipeline_class, layers = FAMILIES[name]
    teacher = teacher_class(str(folders / name), layers, noise=noise)
    pipeline = pipeline_class.from_pretrained(folders / name, **OPTIONAL.get(name, {}))
    images, t = torch.rand(4, 3, *teacher.sample_size) * 2 - 1, torch.tensor([0, 10, 500, 999])
    torch.manual_seed(1)
    with FlopCounterMode(display=False) as counted:
        features = teacher(images, t)

    network, settings = conditioning(name, pipeline, len(t))
    if name == 'dit':
        for block in network.transformer_blocks:
            block.norm1.emb.time_proj.downscale_freq_shift = 0  # as DiT was trained: test_noise
    torch.manual_seed(1)
    with torch.no_grad(), FlopCounterMode(display=False) as encoding:
        x = encode(pipeline, images)
    if noise == 'forward':
        share = pipeline.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
        x = share.sqrt() * x + (1 - share).sqrt() * torch.randn_like(x)
    whole, work = read_in_full_forward(network, layers, x, t, **settings)
    assert list(features) == layers
    for layer in layers:
        expected = whole[layer]
        if expected.dim() == 3:
            expected = torch.stack([tokens.T.reshape(-1, 4, 4) for tokens in expected])
        assert features[layer].std() > 0.01
        assert torch.allclose(features[layer], expected, atol=1e-5)
        channels, stride = teacher.feature_info[layer]
        assert features[layer].shape[1:] == (channels, *(side // stride for side in teacher.sample_size))
    assert counted.get_total_flops() <= 1.02 * (encoding.get_total_flops() + max(work.values()))


OPTIONAL = {'stable_diffusion': {'safety_checker': None, 'feature_extractor': None}}


def test_noise_needs_a_name(folders):
    with pytest.raises(ValueError, match=r"noise='some' is none of 'none', 'forward'"):
        DiffusersTeacher(str(folders / 'pixel'), noise='some')


@pytest.mark.parametrize(('teacher_class', 'name'), [
    (DiffusersTeacher, 'latent'), (DiffusersTeacher, 'dit'), (DiffusersTeacher, 'stable_diffusion'),
    (LatentTeacher, 'pixel'), (DiTTeacher, 'stable_diffusion'),
])  # fmt: skip
def test_a_pipeline_of_another_family_is_refused_and_its_teacher_named(teacher_class, name, folders):
    with pytest.raises(ValueError, match=r'is a pipeline for another teacher\. Expected .* it holds .*DiTTeacher'):
        teacher_class(str(folders / name))


def test_what_is_not_needed_is_not_kept(folders):
    teacher = TextToImageTeacher(str(folders / 'stable_diffusion'), ['down_blocks.0'])
    kept = {name.partition('.')[0] for name, _ in teacher.network.named_parameters()}
    assert kept == {'time_embedding', 'conv_in', 'down_blocks'}
    assert set(teacher.network.down_blocks._modules) == {'0', '1'}
    assert teacher.network.down_blocks[1] is None
    held = teacher.held
    assert set(held) == {'network', 'autoencoder', 'prompt'}
    assert not [name for name, _ in held['autoencoder'].named_parameters() if name.startswith('decoder')]


def full_size(name) -> tuple[type, SimpleNamespace]:
    """A published model on the meta device."""
    kl = {
        'block_out_channels': (128, 256, 512, 512),
        'down_block_types': ('DownEncoderBlock2D',) * 4,
        'up_block_types': ('UpDecoderBlock2D',) * 4,
        'layers_per_block': 2,
        'latent_channels': 4,
    }
    with torch.device('meta'):
        if name == 'CompVis/ldm-celebahq-256':
            three = {'block_out_channels': (128, 256, 512), 'latent_channels': 3, 'layers_per_block': 2}
            types = {'down_block_types': ('DownEncoderBlock2D',) * 3, 'up_block_types': ('UpDecoderBlock2D',) * 3}
            unet = UNet2DModel(
                sample_size=64,
                down_block_types=('DownBlock2D', *('AttnDownBlock2D',) * 3),
                up_block_types=(*('AttnUpBlock2D',) * 3, 'UpBlock2D'),
                attention_head_dim=32,
            )
            return LatentTeacher, SimpleNamespace(unet=unet, vqvae=VQModel(**three, **types, num_vq_embeddings=8192))
        return DiTTeacher, SimpleNamespace(
            transformer=DiTTransformer2DModel(in_channels=4, out_channels=8, sample_size=32), vae=AutoencoderKL(**kl)
        )


# DiT-XL/2 has 675,129,632 parameters in the paper's form; diffusers repeats the embedders in each of the 28 blocks
# and keeps the position embedding as a buffer.
DIT_PARAMETERS = 675_129_632 + 27 * (257 * 1152 + 1153 * 1152 + 1001 * 1152) - 256 * 1152


@pytest.mark.parametrize(('name', 'parameters', 'size', 'info', 'gflops'), [
    ('CompVis/ldm-celebahq-256', 274_056_163, 256, (896, 32), None),
    ('facebook/DiT-XL-2-256', DIT_PARAMETERS, 256, (1152, 16), 2 * 118.64),
])  # fmt: skip
def test_full_size(name, parameters, size, info, gflops, monkeypatch):
    teacher_class, pipeline = full_size(name)
    pipeline.scheduler = DDIMScheduler()
    network = pipeline.transformer if teacher_class is DiTTeacher else pipeline.unet
    assert sum(p.numel() for p in network.parameters()) == parameters
    module = teacher_class.__module__
    monkeypatch.setattr(f'{module}.load_pipeline', lambda *args, **kwargs: pipeline)
    t = torch.zeros(1, dtype=torch.int64, device='meta')
    settings = {'class_labels': t} if teacher_class is DiTTeacher else {}
    side = network.config.sample_size
    x = torch.zeros(1, network.config.in_channels, side, side, device='meta')
    layers = list(inspect.signature(teacher_class).parameters['layers'].default)
    with FlopCounterMode(display=False) as whole:
        _, work = read_in_full_forward(network, layers, x, t, **settings)

    teacher = teacher_class(name)
    assert teacher.sample_size == (size, size)
    assert list(teacher.feature_info.values()) == [info]
    images = torch.zeros(1, 3, size, size, device='meta')
    with FlopCounterMode(display=False) as early:
        teacher(images, t)
    with FlopCounterMode(display=False) as encoding, torch.no_grad():
        teacher.encode(images)
    assert early.get_total_flops() - encoding.get_total_flops() <= 1.02 * work[layers[0]]
    if gflops is not None:
        assert whole.get_total_flops() / 1e9 == pytest.approx(gflops, rel=0.01)


@pytest.mark.parametrize('name', FAMILIES)
def test_which_teacher_reads_a_pipeline(name, folders):
    assert find_teacher_type(str(folders / name)) == FAMILIES[name][0].__name__


@pytest.mark.parametrize('name', [name for name in FAMILIES if name != 'stable_diffusion'])
def test_a_distillation_and_its_resumption(name, folders, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / 'classification_distill')
    teacher = {'type': FAMILIES[name][0].__name__, 'pretrained': str(folders / name), 'noise': 'forward'}
    teacher['layers'] = FAMILIES[name][2][:1]
    assert changed_by_a_resumed_step(teacher, digits, tmp_path) >= TRAINED


def test_latents_of_a_model_that_was_saved_without_a_factor_are_as_they_are(folders, tmp_path):
    folder = shutil.copytree(folders / 'latent', tmp_path / 'saved')
    path = folder / 'vqvae/config.json'
    config = json.loads(path.read_text())
    factor = config.pop('scaling_factor')
    path.write_text(json.dumps(config))
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    latents = [LatentTeacher(str(each)).encode(images) for each in (folders / 'latent', folder)]
    assert factor != 1
    assert torch.allclose(latents[0], factor * latents[1])
