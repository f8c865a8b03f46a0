"""Left and right in the pipelines of the configs: the person's, in a mirrored picture too.

A face with a large left eye (on the right of the picture) becomes, mirrored, a face with a large right eye; the right
eye stays on the left of the picture.
"""

import json

import numpy as np
import pytest
from downstream.small_faces import L_EYE, R_EYE, write_celebamask_hq, write_wflw
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from support import ROOT

DRAWS = 16


def draw(config: Config) -> list[tuple[bool, object]]:
    """Whether it was flipped, and the data sample, of draws from the training set's first face."""
    init_default_scope(config.default_scope)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    samples = [dataset[0]['data_samples'] for _ in range(DRAWS)]
    drawn = [(bool(sample.metainfo['flip']), sample) for sample in samples]
    assert {flipped for flipped, _ in drawn} == {True, False}
    return drawn


@pytest.fixture(autouse=True)
def _drawn_alike(monkeypatch, tmp_path):
    np.random.seed(0)
    monkeypatch.chdir(tmp_path)


def test_parsing():
    write_celebamask_hq('data', images=1, size=256)
    (path,) = (ROOT / 'segmentation/configs/celebahq_mask').glob('*r18*_baseline.py')
    compared = set()
    for flipped, sample in draw(Config.fromfile(path)):
        labels = sample.gt_sem_seg.data[0].numpy()
        left, right = labels == L_EYE, labels == R_EYE
        if 0 in labels[[0, -1]] and 18 in labels[[0, -1]] and left.any() and right.any():  # not cropped
            compared.add(flipped)
            assert np.nonzero(right)[1].mean() < np.nonzero(left)[1].mean()
            assert (right.sum() > left.sum()) == flipped
    assert compared == {True, False}


def test_landmarks():
    file = write_wflw('data', images=1) / 'annotations/face_landmarks_wflw_train.json'
    content = json.loads(file.read_text())
    points = np.array(content['annotations'][0]['keypoints']).reshape(98, 3)
    points[[60, 64, 68, 72], :2] = [[110, 140], [125, 140], [170, 140], [220, 140]]
    content['annotations'][0]['keypoints'] = points.ravel().tolist()
    file.write_text(json.dumps(content))
    (path,) = (ROOT / 'landmark/configs').rglob('res50*baseline*.py')
    for flipped, sample in draw(Config.fromfile(path)):
        heatmaps = sample.gt_fields.heatmaps.flatten(1)
        assert (heatmaps[[60, 64, 68, 72]].amax(dim=1) == 1).all()
        place = heatmaps.argmax(dim=1)
        position = np.stack([place % 64, place // 64], axis=1)
        assert position[60, 0] < position[72, 0]
        right, left = (np.linalg.norm(position[i] - position[j]) for i, j in ((60, 64), (68, 72)))
        assert (right > left) == flipped
