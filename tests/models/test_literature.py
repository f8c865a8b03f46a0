"""The layers that the literature found: they exist, a probe proposes and marks them, and the page lists them."""

import csv
import io

import diffusers
import numpy as np
import pytest
import tiny_pipelines
import torch
from mmcls import load_teacher, probe
from mmcls.apis.probe_configs import _table, draw_heat_map
from mmcls.models.guided_diffusion import VARIANTS, build_unet
from mmcls.models.guided_diffusion.conversion import blocks
from mmcls.models.teachers import literature, text_to_image_families
from mmcls.models.teachers.literature import LITERATURE
from support import ROOT
from test_text_to_image_full_size import SDXL

NETWORKS = {
    'StableDiffusionPipeline': lambda: diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
    'StableDiffusionImg2ImgPipeline': lambda: diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
    'StableDiffusionXLPipeline': lambda: diffusers.UNet2DConditionModel(**SDXL),
    'FluxPipeline': lambda: diffusers.FluxTransformer2DModel(guidance_embeds=True),
    'ADMTeacher': lambda: build_unet(VARIANTS['256-uncond']),
    'SiTTeacher': lambda: diffusers.DiTTransformer2DModel(),
}


@pytest.mark.parametrize('family', LITERATURE)
def test_the_layers_are_there_and_the_defaults_among_them(family):
    with torch.device('meta'):
        network = NETWORKS[family]()
    names = {name for name, _ in network.named_modules()}
    layers = [finding.layer for finding in LITERATURE[family]]
    assert set(layers) <= names
    if family in ('StableDiffusionXLPipeline', 'FluxPipeline'):
        assert text_to_image_families.FAMILIES[family].layer(network) == layers[0]


def test_dift_reads_guided_diffusions_output_blocks_4_7_and_11():
    ends = {}
    for _, old, new in blocks(VARIANTS['256-uncond']):
        ends[old.rpartition('.')[0]] = new  # the last part of a block
    found = [finding.layer for finding in LITERATURE['ADMTeacher']]
    assert [ends[f'output_blocks.{i}'] for i in (4, 7)] == found[:2]
    assert ends['output_blocks.11'] == f'{found[2]}.upsamplers.0'  # with which the whole block ends


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('literature') / 'sd'
    torch.manual_seed(0)
    tiny_pipelines.stable_diffusion(folder)
    return folder


def test_a_probe_proposes_and_marks_them(folder, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    teacher = load_teacher(folder, 'blocks')
    assert teacher.layers[-1] == 'up_blocks.1'  # which is no residual block; up_blocks.2 this network does not have
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    pairs = [(image, index % 2) for index, image in enumerate(images)]
    rows = probe(teacher, pairs, pairs, timesteps=[0])
    marks = {row['layer']: row['literature'] for row in rows}
    assert marks.pop('up_blocks.1') == (
        'classification, SD 1.5 at t = 25 (Revelio, ICCV 2025); correspondence, SD 2.1 at t = 261 (DIFT, NeurIPS 2023)'
    )
    assert set(marks.values()) == {''}
    assert [row['literature'] for row in csv.DictReader(io.StringIO(_table(rows)))] == [r['literature'] for r in rows]

    drawn = []
    monkeypatch.setattr('matplotlib.axes.Axes.set_yticks', lambda axes, ticks, labels: drawn.extend(labels))
    draw_heat_map(rows, tmp_path / 'probe.png')
    assert {label for label in drawn if label.startswith('*')} == {'* up_blocks.1'}


def test_the_page_lists_each():
    text = (ROOT / 'docs/teachers.md').read_text()
    for finding in [finding for findings in literature.LITERATURE.values() for finding in findings]:
        (row,) = {line for line in text.splitlines() if f'`{finding.layer}`' in line and f'| {finding.task}' in line}
        assert finding.model in row
        assert finding.timestep is None or str(finding.timestep) in row
        assert finding.source in row
