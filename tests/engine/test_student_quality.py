"""What is measured of features, and that a training measures its student."""

import json
import re

import numpy as np
import pytest
import torch
from mmcls.datasets.image_folder import load_classes
from mmcls.engine import prepare_config, train
from mmcls.engine.representation import effective_rank, linear_probe, nearest_neighbours, neighbour_agreement
from PIL import Image
from support import ROOT

CONFIG = 'configs/digits-hint/ddpm-r18_hint.py'


def clusters(distance: float, count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.arange(count) % 3
    return torch.randn(count, 8) + distance * torch.eye(8)[labels], labels


def test_classes_apart_are_told_apart_and_others_are_not():
    for measure in (nearest_neighbours, linear_probe):
        value, error = measure(*clusters(10))
        assert value == 100
        assert error == 0
        value, error = measure(*clusters(0))
        assert 15 < value < 55  # chance is 33
        assert error == pytest.approx((value * (100 - value) / 60) ** 0.5)


def test_an_image_does_not_vote_for_itself():
    features = torch.eye(4)
    assert nearest_neighbours(features, torch.tensor([0, 0, 1, 1]), k=3)[0] < 100
    twins = torch.cat([features, features])
    assert nearest_neighbours(twins, torch.tensor([0, 1, 2, 3] * 2), k=1)[0] == 100


def test_the_effective_rank_counts_directions():
    assert effective_rank(torch.randn(5000, 8)) == pytest.approx(8, rel=0.01)
    assert effective_rank(torch.randn(100, 1) * torch.ones(1, 8)) == pytest.approx(1, abs=0.01)


def test_neighbours_agree_where_views_tell_the_same():
    features, noise = torch.randn(101, 8), torch.randn(101, 8)
    assert neighbour_agreement(features, features) == (100, 0)
    assert neighbour_agreement(features, noise)[0] == pytest.approx(10, abs=3)  # chance: 10 of 100
    near = neighbour_agreement(features, features + 0.2 * noise)
    assert 50 < near[0] < 95
    assert 0 < near[1] < 3


def test_a_folder_without_classes_is_refused(tmp_path):
    (tmp_path / 'one').mkdir()
    for index in range(2):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / 'one' / f'{index}.png')
    with pytest.raises(ValueError, match='holds one: 2; a folder of labelled images has a subfolder'):
        load_classes(tmp_path, 8)
    (tmp_path / 'two').mkdir()
    (tmp_path / 'two' / 'broken.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'two/broken\.png cannot be read'):
        load_classes(tmp_path, 8)
    (tmp_path / 'two' / 'broken.png').unlink()
    Image.fromarray(np.zeros((9, 12, 3), np.uint8)).save(tmp_path / 'two' / '0.png')
    with pytest.raises(ValueError, match='one: 2, two: 1'):
        load_classes(tmp_path, 8)


def test_a_training_measures_its_student_and_trains_as_without(digits, pipeline_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / 'classification_distill')
    labelled = tmp_path / 'labelled'
    for label in range(3):
        (labelled / str(label)).mkdir(parents=True)
        for path in sorted((digits / 'images' / str(label)).iterdir())[:12]:
            (labelled / str(label) / path.name).write_bytes(path.read_bytes())
    weights = []
    for name, hooks in (
        (
            'with',
            [
                {'type': 'StudentQualityHook', 'folder': str(labelled), 'interval': 2},
                {'type': 'StudentAgreementHook', 'interval': 2, 'num_images': 50},
            ],
        ),
        ('without', []),
    ):
        config = prepare_config(CONFIG, {'data_root': str(digits)}, work_dir=str(tmp_path / name))
        config.model.teacher.update(pretrained=pipeline_folder, noise='forward')
        config.model.backbone.update(base_channels=4, stem_channels=4)
        config.train_dataloader.dataset.indices = 128
        config.train_cfg = {'by_epoch': True, 'max_epochs': 3}
        config.custom_hooks = hooks
        config.experiment_name = name  # runs of one name and second would share a logger
        for key in ('val_dataloader', 'val_evaluator', 'val_cfg', 'test_dataloader', 'test_evaluator', 'test_cfg'):
            config[key] = None
        train(config)
        weights.append(torch.load(tmp_path / name / 'epoch_3.pth', weights_only=False)['state_dict'])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    (log,) = (tmp_path / 'with').glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    measured = {row['step']: row for row in rows if 'quality/student_knn' in row}
    assert sorted(measured) == [0, 4, 6]  # the start, two epochs, the end
    assert all(0 <= row['quality/student_linear'] <= 100 < 101 for row in measured.values())
    assert any('quality/teacher_linear' in row for row in rows)
    (text,) = (path.read_text() for path in (tmp_path / 'with').glob('*/*.log'))
    assert 'Classified by the pixels, iteration 0: knn' in text
    agreements = {row['step']: row['quality/student_agreement'] for row in rows if 'quality/student_agreement' in row}
    assert sorted(agreements) == [0, 4, 6]
    assert all(0 < value < 100 for value in agreements.values())
    assert any('quality/pixels_agreement' in row for row in rows)
    assert re.search(r'Neighbours by the student, iteration 6: .* effective rank [\d.]+ of 32', text)


def test_the_validation_split_measures_where_no_folder_is_given(digits, pipeline_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / 'classification_distill')
    config = prepare_config(CONFIG, {'data_root': str(digits)}, work_dir=str(tmp_path))
    config.experiment_name = 'validation_split'
    config.model.teacher.pretrained = pipeline_folder
    config.model.backbone.update(base_channels=4, stem_channels=4)
    for split in ('train', 'val'):
        config[f'{split}_dataloader'].dataset.indices = 128
    config.train_cfg = {'by_epoch': True, 'max_epochs': 1}
    config.custom_hooks = [{'type': 'StudentQualityHook'}]
    train(config)
    (text,) = (path.read_text() for path in tmp_path.glob('*/*.log'))
    assert 'measured on 128 images of 10 classes in the validation split' in text
    (pixels,) = re.findall(r'Classified by the pixels, iteration 0: knn ([\d.]+)', text)
    assert float(pixels) > 50  # chance is 10: images and labels belong together
    for key in ('val_dataloader', 'val_evaluator', 'val_cfg'):
        config[key] = None
    config.work_dir = str(tmp_path / 'without')
    with pytest.raises(ValueError, match='no val_dataloader; give a folder'):
        train(config)
