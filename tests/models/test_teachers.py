import copy
import json

import pytest
import torch
from conftest import tiny_unet
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from mmcls.models import DiffusersTeacher
from mmcls.models.teachers import BaseTeacher
from torch.utils.flop_counter import FlopCounterMode

MIDDLE = 'mid_block.resnets.1.conv2'


class UNetTeacher(BaseTeacher):
    def denoise(self, network, images, t, class_labels):
        network(images, t)


def read_in_full_forward(network, layers, images, t):
    features = {}
    handles = [
        network.get_submodule(layer).register_forward_hook(lambda m, a, out, layer=layer: features.update({layer: out}))
        for layer in layers
    ]
    with torch.no_grad():
        network(images, t)
    for handle in handles:
        handle.remove()
    return features


def test_features_equal_those_of_the_full_forward_in_any_order(pipeline_folder):
    layers = [MIDDLE, 'down_blocks.0.resnets.0', 'up_blocks.0.resnets.0.conv1']
    teacher = DiffusersTeacher(pipeline_folder, layers)
    images, t = torch.rand(4, 3, 8, 8) * 2 - 1, torch.tensor([0, 10, 500, 999])
    features = teacher(images, t)
    assert list(features) == layers
    whole = read_in_full_forward(teacher.network, layers, images, t)
    for layer in layers:
        assert torch.equal(features[layer], whole[layer])
        channels, stride = teacher.feature_info[layer]
        assert features[layer].shape == (4, channels, 8 // stride, 8 // stride)


def test_stops_after_the_last_layer_at_the_size_of_ddpm_cifar10():
    with torch.device('meta'):
        network = UNet2DModel(
            sample_size=32,
            block_out_channels=(128, 256, 256, 256),
            down_block_types=('DownBlock2D', 'AttnDownBlock2D', 'DownBlock2D', 'DownBlock2D'),
            up_block_types=('UpBlock2D', 'UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'),
            layers_per_block=2,
            downsample_padding=0,
            flip_sin_to_cos=False,
            freq_shift=1,
            norm_eps=1e-6,
            attention_head_dim=None,
        )
        teacher = UNetTeacher(network, [MIDDLE], (32, 32), 1000)
        images, t = torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.int64)
        with FlopCounterMode(display=False) as early:
            teacher(images, t)
        with FlopCounterMode(display=False) as whole, torch.no_grad():
            network(images, t)
    assert sum(p.numel() for p in network.parameters()) == 35_746_307
    assert teacher.feature_info == {MIDDLE: (256, 8)}
    assert whole.get_total_flops() == pytest.approx(12.44e9, rel=0.01)
    assert early.get_total_flops() <= 1.02 * 3.33e9


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
    teacher = DiffusersTeacher(str(tmp_path), [MIDDLE])
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
