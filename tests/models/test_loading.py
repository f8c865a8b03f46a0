"""A teacher loads what it reads of a pipeline, and no more: memory and bytes read, in processes of their own."""

import json
from pathlib import Path

import diffusers
import pytest
import tiny_text_pipelines
import torch
from mmcls.benchmark import loading
from safetensors.torch import save_file
from support import door

SHARD = 100 * 2**20  # bytes
# The shape of FLUX.1, a third as wide and as deep: 422 M parameters.
FLUX = {
    'num_layers': 6,
    'num_single_layers': 12,
    'num_attention_heads': 16,
    'attention_head_dim': 64,
    'axes_dims_rope': (16, 24, 24),
}


def write_flux(folder: Path, **config) -> int:
    """A pipeline of FLUX with random weights, written shard by shard; its denoiser's number of parameters."""
    tiny_text_pipelines.write(tiny_text_pipelines.flux, folder)
    part = folder / 'transformer'
    (part / 'diffusion_pytorch_model.safetensors').unlink()
    tiny = diffusers.FluxTransformer2DModel.load_config(part)
    with torch.device('meta'):
        network = diffusers.FluxTransformer2DModel.from_config(dict(tiny) | config)
    network.save_config(part)
    where, shard, size = {}, {}, 0
    shapes = [(name, weight.shape) for name, weight in network.state_dict().items()]
    for index, (name, shape) in enumerate(shapes):
        shard[name] = torch.randn(shape, dtype=torch.bfloat16) / 50
        size += shard[name].nbytes
        if size > SHARD or index == len(shapes) - 1:
            file = f'shard-{len(set(where.values()))}.safetensors'
            save_file(shard, part / file)
            where |= dict.fromkeys(shard, file)
            shard, size = {}, 0
    (part / 'diffusion_pytorch_model.safetensors.index.json').write_text(
        json.dumps({'metadata': {}, 'weight_map': where})
    )
    return sum(shape.numel() for _, shape in shapes)


def test_what_is_measured(tmp_path, monkeypatch):
    write_flux(tmp_path / 'flux')
    monkeypatch.setenv('XDG_CACHE_HOME', '')  # and back again
    for load in (loading._load_whole, loading._load_teacher):
        row = loading._measure(load, tmp_path / 'flux', str(tmp_path))
        assert row['load_seconds'] > 0
        assert row['peak_memory'] > 0
        assert row['read'] >= 0
    assert list((tmp_path / 'repfusion/prompts').glob('*.safetensors'))


def test_a_folder_without_a_pipeline_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit, match='2'):
        door('benchmark', 'loading', tmp_path)
    assert 'holds no model_index.json' in capsys.readouterr().err


@pytest.mark.slow
def test_a_teacher_of_420_million_parameters(tmp_path, capsys):
    assert 400e6 < write_flux(tmp_path / 'flux', **FLUX) < 450e6
    door('benchmark', 'loading', tmp_path / 'flux', '--json', tmp_path / 'out.json')
    assert '| way | s | peak memory, MiB | kept for itself, MiB | read from disk, MiB |' in capsys.readouterr().out
    rows = json.loads((tmp_path / 'out.json').read_text())['rows']
    assert [row['way'] for row in rows] == ['whole, float32', 'whole, bfloat16', 'teacher', 'teacher, again']
    whole, _, teacher, again = rows
    assert teacher['peak_memory'] < 0.5 * whole['peak_memory']
    assert teacher['private_memory'] < 0.2 * whole['private_memory']
    assert again['read'] < 0.75 * whole['read']
