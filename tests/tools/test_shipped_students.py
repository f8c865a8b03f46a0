"""The students that come with the repository are what their cards say."""

import hashlib

import numpy as np
import pytest
import torch
from mmcls import load_student
from PIL import Image
from support import ROOT, door

FOLDERS = sorted(path.parent for path in (ROOT / 'students').glob('*/model.safetensors'))


def test_there_is_one():
    assert FOLDERS


@pytest.mark.parametrize('folder', FOLDERS, ids=lambda folder: folder.name)
def test_it_is_small_and_has_the_sums_of_its_card(folder):
    card = (folder / 'README.md').read_text()
    for name in ('model.safetensors', 'training.json'):
        content = (folder / name).read_bytes()
        assert len(content) < 1e6
        assert hashlib.sha256(content).hexdigest() in card
    assert f'| parameters | {sum(p.numel() for p in load_student(folder).parameters()):,} |' in card


@pytest.mark.parametrize('folder', FOLDERS, ids=lambda folder: folder.name)
def test_it_embeds_a_folder(folder, tmp_path):
    generator = np.random.default_rng(0)
    for index in range(4):
        pixels = generator.integers(256, size=(48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{index}.png')
    door('embed', tmp_path, folder, tmp_path / 'out', '--workers', '0')
    features = torch.from_numpy(np.load(tmp_path / 'out' / 'features.npy'))
    assert features.isfinite().all()
    assert (torch.pdist(features) > 0.1).all()
