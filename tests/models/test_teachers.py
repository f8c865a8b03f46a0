import copy
import json

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, ScoreSdeVePipeline, ScoreSdeVeScheduler, UNet2DModel
from mmcls import load_teacher
from mmcls.benchmark.presets import DDPM_CIFAR10_32, DDPM_EMA_CELEBAHQ_256
from mmcls.errors import UnusableInputError
from mmcls.models.teachers.diffusers_teacher import DiffusersTeacher, UNetTeacher
from mmcls.models.teachers.execution import ChannelsLastGroupNorm, Precision
from support import read_in_full_forward, tiny_unet
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

MIDDLE = 'mid_block.resnets.1.conv2'


def test_a_layer_of_every_part_in_any_order(pipeline_folder):
    layers = [MIDDLE, 'down_blocks.0.resnets.0', 'up_blocks.0.resnets.0.conv1']
    images, t = torch.rand(4, 3, 8, 8) * 2 - 1, torch.tensor([0, 10, 500, 999])
    features = DiffusersTeacher(pipeline_folder, layers)(images, t)
    assert list(features) == layers
    whole, _ = read_in_full_forward(DDPMPipeline.from_pretrained(pipeline_folder).unet, layers, images, t)
    assert all(torch.equal(features[layer], whole[layer]) for layer in layers)


@pytest.mark.parametrize(('settings', 'parameters', 'gflops', 'info'), [
    (DDPM_CIFAR10_32, 35_746_307, (12.44, 3.33), (256, 8)),
    (DDPM_EMA_CELEBAHQ_256, 113_673_219, (497.0, 135.2), (512, 32)),
], ids=['ddpm-cifar10-32', 'ddpm-ema-celebahq-256'])  # fmt: skip
def test_full_size(settings, parameters, gflops, info):
    with torch.device('meta'):
        network = UNet2DModel(**settings)
    size = network.config.sample_size
    images, t = torch.zeros(1, 3, size, size, device='meta'), torch.zeros(1, dtype=torch.int64, device='meta')
    with FlopCounterMode(display=False) as whole, torch.no_grad():
        network(images, t)
    assert sum(p.numel() for p in network.parameters()) == parameters
    teacher = UNetTeacher(network, DDPMScheduler(), [MIDDLE])
    with FlopCounterMode(display=False) as early:
        teacher(images, t)
    assert teacher.feature_info == {MIDDLE: info}
    assert whole.get_total_flops() / 1e9 == pytest.approx(gflops[0], rel=2e-3)
    assert early.get_total_flops() / 1e9 <= 1.02 * gflops[1]


def test_compiling_changes_no_feature(pipeline_folder):
    images, t = torch.rand(4, 3, 8, 8) * 2 - 1, torch.tensor([0, 10, 500, 999])
    plain = DiffusersTeacher(pipeline_folder)(images, t)[MIDDLE]
    teacher = DiffusersTeacher(pipeline_folder, compile=True)
    assert torch.allclose(teacher(images, t)[MIDDLE], plain, atol=1e-5)
    compiled = [name for name, module in teacher.network.named_modules() if module._compiled_call_impl is not None]
    blocks = ['time_embedding', 'down_blocks.0', 'down_blocks.1', 'mid_block.attentions.0', 'mid_block.resnets.0']
    assert compiled == blocks
    assert teacher.network.get_submodule(MIDDLE).weight.is_contiguous(memory_format=torch.channels_last)
    averages = teacher(images, t, pooled=True)[MIDDLE]
    assert torch.allclose(averages, plain.mean((2, 3), keepdim=True), atol=1e-5)


def test_weights_are_held_in_the_precision(pipeline_folder):
    teacher = DiffusersTeacher(pipeline_folder, dtype='bfloat16')
    images, t = torch.rand(2, 3, 8, 8) * 2 - 1, torch.tensor([0, 999])
    teacher(images, t)
    assert {p.dtype for p in teacher.network.parameters()} == {torch.bfloat16}
    assert teacher.levels.dtype == torch.float32


@pytest.mark.parametrize('shape', [(3, 16, 5, 7), (2, 16, 9)])
def test_group_norm_of_channels_last_maps_is_torchs(shape):
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, 16, eps=1e-6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = 3 * torch.randn(shape) + 5
    assert torch.allclose(ChannelsLastGroupNorm(norm)(x), norm(x), atol=2e-5)
    low = ChannelsLastGroupNorm(norm.bfloat16())(x.bfloat16())
    assert low.dtype == torch.bfloat16
    assert torch.allclose(low.float(), norm(x.bfloat16()).float(), atol=6e-2)


def test_precision_is_the_teachers_own_whatever_autocast_is_around_it(pipeline_folder):
    images, t = torch.rand(4, 3, 8, 8) * 2 - 1, torch.tensor([0, 10, 500, 999])
    full = DiffusersTeacher(pipeline_folder)(images, t)[MIDDLE]
    low = DiffusersTeacher(pipeline_folder, dtype='bfloat16')(images, t)[MIDDLE]
    assert low.dtype == torch.float32
    assert 1e-4 < (low - full).abs().mean() / full.abs().mean() < 2e-2
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(DiffusersTeacher(pipeline_folder)(images, t)[MIDDLE], full)
    with pytest.raises(ValueError, match=r"dtype='half' is none of 'auto', 'float32'"):
        DiffusersTeacher(pipeline_folder, dtype='half')


def test_automatic_precision(monkeypatch):
    cpu, gpu = torch.device('cpu'), torch.device('cuda')
    assert Precision().resolve(cpu) == torch.float32
    for supported, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation, s=supported: s)
        assert Precision().resolve(gpu) == dtype
        assert Precision('float32').resolve(gpu) == torch.float32


def test_features_take_part_in_a_backward_pass(pipeline_folder):
    feature = DiffusersTeacher(pipeline_folder)(torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))[MIDDLE]
    student = torch.ones_like(feature, requires_grad=True)
    (student * feature).sum().backward()
    assert torch.equal(student.grad, feature)


def test_images_of_another_size_are_resized(pipeline_folder):
    teacher = DiffusersTeacher(pipeline_folder, [MIDDLE])
    t = torch.zeros(2, dtype=torch.int64)
    small = torch.rand(2, 3, 8, 8)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert teacher(large, t)[MIDDLE].shape == teacher(small, t)[MIDDLE].shape


def test_holds_nothing_that_could_be_trained_saved_or_copied(pipeline_folder):
    teacher = DiffusersTeacher(pipeline_folder, [MIDDLE])
    assert not list(teacher.parameters())
    assert not list(teacher.buffers())
    assert not teacher.state_dict()
    assert copy.deepcopy(teacher).network is teacher.network
    teacher.train()
    assert not any(module.training for module in teacher.network.modules())
    assert not any(p.requires_grad for p in teacher.network.parameters())
    assert not teacher(torch.zeros(1, 3, 8, 8, requires_grad=True), torch.zeros(1, dtype=torch.int64))[
        MIDDLE
    ].requires_grad
    assert next(teacher.double().network.parameters()).dtype == torch.float64


def test_old_hub_layout_loads(tmp_path):
    """Files at the root, a pickled .bin, and the attention layers under their former names."""
    pipeline = DDPMPipeline(tiny_unet(), DDPMScheduler())
    former = {'to_q': 'query', 'to_k': 'key', 'to_v': 'value', 'to_out.0': 'proj_attn'}
    weights = {}
    for key, value in pipeline.unet.state_dict().items():
        for new, old in former.items():
            key = key.replace(f'.{new}.', f'.{old}.')
        weights[key] = value
    assert any('proj_attn' in key for key in weights)
    pipeline.unet.save_config(tmp_path)
    pipeline.scheduler.save_config(tmp_path)
    torch.save(weights, tmp_path / 'diffusion_pytorch_model.bin')
    index = {
        '_class_name': 'DDPMPipeline',
        '_diffusers_version': '0.1.1',
        'scheduler': ['diffusers', 'DDPMScheduler'],
        'unet': ['diffusers', 'UNet2DModel'],
    }
    (tmp_path / 'model_index.json').write_text(json.dumps(index))
    teacher = DiffusersTeacher(str(tmp_path), ['conv_out'])
    for key, value in pipeline.unet.state_dict().items():
        assert torch.equal(teacher.network.state_dict()[key], value), key


def test_unknown_layer_names_near_ones(pipeline_folder):
    with pytest.raises(ValueError, match=r"no layer 'mid_block.resnet.1.conv2'.*mid_block\.resnets\.1\.conv2"):
        DiffusersTeacher(pipeline_folder, ['mid_block.resnet.1.conv2'])


def test_layer_that_is_no_map(pipeline_folder):
    with pytest.raises(ValueError, match=r'not a map \(N, C, h, w\)'):
        DiffusersTeacher(pipeline_folder, ['time_embedding'])


def test_folder_that_is_no_pipeline(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no model_index\.json'):
        DiffusersTeacher(str(tmp_path), [MIDDLE])


def test_unreachable_hub(monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(FileNotFoundError, match='neither a folder here nor a model that the Hugging Face hub gave'):
        DiffusersTeacher('google/no-such-model', [MIDDLE])
    with pytest.raises(FileNotFoundError, match=r'neither a folder.* by a config of configs/teacher'):
        DiffusersTeacher('work_dirs/no-such-run/pipeline', [MIDDLE])


SMALL = {
    'block_out_channels': (8, 8),
    'layers_per_block': 1,
    'norm_num_groups': 4,
    'down_block_types': ('DownBlock2D', 'DownBlock2D'),
    'up_block_types': ('UpBlock2D', 'UpBlock2D'),
}


def test_a_network_that_does_not_say_how_large_its_images_are(tmp_path):
    unet = UNet2DModel(**SMALL)
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(
        UnusableInputError, match='UNet2DModel does not say how large its images are: write sample_size'
    ):
        load_teacher(tmp_path)


def test_a_score_sde_is_no_ddpm(tmp_path):
    unet = UNet2DModel(sample_size=8, **SMALL)
    ScoreSdeVePipeline(unet, ScoreSdeVeScheduler()).save_pretrained(tmp_path)
    with pytest.raises(UnusableInputError, match='is a ScoreSdeVePipeline; teachers read DDPMPipeline'):
        load_teacher(tmp_path)
    with pytest.raises(UnusableInputError, match='The pipeline is not of a DDPM: its ScoreSdeVeScheduler'):
        DiffusersTeacher(str(tmp_path))
