"""Predictions in the report: a real test of a checkpoint, in a tree's folder."""

import base64
import io
import json
from pathlib import Path

import torch
from downstream.small_faces import write_celebamask_hq
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from report.predictions import NUM_IMAGES, draw_predictions
from report.runs import Run
from support import ROOT

CONFIG = 'celebahq_mask/bisenetv1_r18-d32_lr5e-3_2x8_448x448_160k_coco-celebahq_mask_baseline.py'
SIZE = 64


def write_run(tree: Path) -> Path:
    """A work directory with all that the report reads of it; the network is as it starts."""
    config = Config.fromfile(ROOT / 'segmentation/configs' / CONFIG)
    config.work_dir = 'work_dirs/parser'
    init_default_scope('mmseg')
    folder = tree / config.work_dir
    (folder / '1/vis_data').mkdir(parents=True)
    for path in (folder / 'parser.py', folder / '1/vis_data/config.py'):
        config.dump(path)
    (folder / '1/vis_data/scalars.json').write_text(json.dumps({'loss': 1.0, 'lr': 0.1, 'iter': 1}) + '\n')
    torch.save({'state_dict': MODELS.build(config.model).state_dict()}, folder / 'iter_1.pth')
    return folder


def test_a_parser_draws_truth_and_prediction(tmp_path):
    run = Run(write_run(tmp_path / 'segmentation'), 'parser')
    assert run.kind == 'Face parsing'
    assert run.tree == tmp_path / 'segmentation'
    assert 'data_root' in draw_predictions(run)  # is not there yet, says a sentence

    (tmp_path / 'segmentation/data').symlink_to(tmp_path / 'data')
    write_celebamask_hq(tmp_path / 'data', images=NUM_IMAGES + 1, size=SIZE)
    urls = draw_predictions(run)
    assert len(urls) == NUM_IMAGES, urls
    for url in urls:
        with Image.open(io.BytesIO(base64.b64decode(url.partition('base64,')[2]))) as picture:
            assert picture.size == (2 * SIZE, SIZE)
            halves = [picture.crop((x, 0, x + SIZE, SIZE)).tobytes() for x in (0, SIZE)]
            assert halves[0] != halves[1]
