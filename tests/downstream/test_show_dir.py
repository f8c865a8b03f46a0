"""tools/test.py --show-dir in each tree, on a checkpoint that a training wrote."""

import runpy
import sys

import pytest
from downstream.small_faces import write_celebamask_hq, write_wflw
from PIL import Image
from support import ROOT

TREES = {
    'classification_distill': ('baseline/r18_b64_digits_finetune.py', (224, 224), '*.png'),
    'segmentation': (
        'celebahq_mask/bisenetv1_r18-d32_lr5e-3_2x8_448x448_160k_coco-celebahq_mask_baseline.py',
        (2 * 128, 128),  # truth beside prediction
        'test_*.png',
    ),
    'landmark': (
        'face/2d_kpt_sview_rgb_img/topdown_heatmap/wflw/res50_wflw_256x256_baseline_bs64x2.py',
        (160, 160),
        '*.jpg',
    ),
}


def run(monkeypatch, script: str, *arguments) -> None:
    options = ['train_dataloader.num_workers=0', 'val_dataloader.num_workers=0', 'test_dataloader.num_workers=0']
    options += ['train_dataloader.batch_size=2', 'train_dataloader.dataset.indices=2', 'test_dataloader.batch_size=2']
    options += ['val_dataloader.dataset.indices=2', 'test_dataloader.dataset.indices=2', 'train_cfg.val_interval=10000']
    monkeypatch.setattr(sys, 'argv', [script, *map(str, arguments), *options])
    runpy.run_path(str(ROOT / 'tools' / script), run_name='__main__')


@pytest.mark.parametrize('tree', TREES)
def test_predictions_are_drawn(tree, digits, tmp_path, monkeypatch):
    path, size, names = TREES[tree]
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/digits').symlink_to(digits)
    write_celebamask_hq(tmp_path / 'data', images=2, size=128)
    write_wflw(tmp_path / 'data', images=2, size=160)
    monkeypatch.chdir(tmp_path)
    config = ROOT / tree / 'configs' / path

    length = 'train_cfg.max_epochs=1' if tree == 'landmark' else 'train_cfg.max_iters=1'
    run(monkeypatch, 'train.py', config, '--work-dir', 'run', '--cfg-options', length)
    (checkpoint,) = (tmp_path / 'run').glob('*_1.pth')
    run(monkeypatch, 'test.py', config, checkpoint, '--work-dir', 'test', '--show-dir', 'shown', '--cfg-options')

    pictures = [Image.open(path) for path in (tmp_path / 'shown').glob(names)]
    assert [picture.size for picture in pictures] == [size] * 2
    if tree == 'segmentation':
        for picture in pictures:
            truth = picture.convert('RGB').crop((0, 0, 128, 128))
            prediction = picture.convert('RGB').crop((128, 0, 256, 128))
            assert len(set(truth.getdata())) > 19
            assert truth.tobytes() != prediction.tobytes()
    if tree == 'landmark':  # MMPose draws the points in red
        for picture in pictures:
            assert sum(r > 200 and g < 60 and b < 60 for r, g, b in picture.convert('RGB').getdata()) > 50
