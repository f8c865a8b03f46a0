"""Predictions in the report: a real test of a checkpoint, in a tree's folder."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import torch
from downstream.small_faces import write_celebamask_hq, write_wflw
from mmcls.apis.report.predictions import NUM_IMAGES, draw_predictions
from mmcls.apis.report.runs import Run
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from support import ROOT

PARSER = 'segmentation/configs/celebahq_mask/bisenetv1_r18-d32_lr5e-3_2x8_448x448_160k_coco-celebahq_mask_baseline.py'
LANDMARKS = 'landmark/configs/demo_faces/hrnet_128x128_demofaces_baseline.py'
SIZE = 64


def write_run(tree: Path, config_file: str) -> Path:
    """A work directory with all that the report reads of it; the network is as it starts."""
    config = Config.fromfile(ROOT / config_file)
    config.work_dir = 'work_dirs/run'
    init_default_scope(config.default_scope)
    folder = tree / config.work_dir
    (folder / '1/vis_data').mkdir(parents=True)
    for path in (folder / 'run.py', folder / '1/vis_data/config.py'):
        config.dump(path)
    (folder / '1/vis_data/scalars.json').write_text(json.dumps({'loss': 1.0, 'lr': 0.1, 'iter': 1}) + '\n')
    torch.save({'state_dict': MODELS.build(config.model).state_dict()}, folder / 'iter_1.pth')
    return folder


def test_a_parser_draws_truth_and_prediction(tmp_path):
    run = Run(write_run(tmp_path / 'segmentation', PARSER), 'run')
    assert run.kind == 'Face parsing'
    assert run.tree == tmp_path / 'segmentation'
    assert 'data_root' in draw_predictions(run)  # is not there yet, says a sentence

    (tmp_path / 'segmentation/data').symlink_to(tmp_path / 'data')
    write_celebamask_hq(tmp_path / 'data', images=NUM_IMAGES + 1, size=SIZE)
    urls = draw_predictions(run)
    assert len(urls) == NUM_IMAGES, urls
    for picture in map(read, urls):
        assert picture.shape == (SIZE, 2 * SIZE, 3)
        assert (picture[:, :SIZE] != picture[:, SIZE:]).any()


def test_a_landmark_model_draws_its_points_on_the_face(tmp_path):
    write_wflw(tmp_path / 'data/demo_faces', size=128)
    run = Run(write_run(tmp_path / 'landmark', LANDMARKS), 'run')
    (tmp_path / 'landmark/data').symlink_to(tmp_path / 'data')
    assert run.kind == 'Landmarks'
    urls = draw_predictions(run)
    assert len(urls) == NUM_IMAGES, urls
    faces = [np.asarray(Image.open(path)) for path in (tmp_path / 'data').rglob('*.jpg')]
    for picture in map(read, urls):
        same_size = [face for face in faces if face.shape == picture.shape]
        assert same_size
        changed = [np.abs(picture.astype(int) - face).max(2) > 100 for face in same_size]
        assert 10 < min(pixels.sum() for pixels in changed) < picture[..., 0].size / 2


def read(url: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(url.partition('base64,')[2]))) as picture:
        return np.asarray(picture.convert('RGB'))
