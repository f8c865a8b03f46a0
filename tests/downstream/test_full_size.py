"""The models of the configs at their full size: a training step and a test step."""

import pytest
import torch
from downstream.small_faces import NUM_CLASSES, write_celebamask_hq, write_wflw
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from support import ROOT

FOLDERS = ('segmentation/configs/celebahq_mask', 'landmark/configs/face')
BASELINES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob('*baseline*.py'))]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('faces')
    write_celebamask_hq(folder / 'data', images=2, size=640)
    write_wflw(folder / 'data', images=2)
    return folder


@pytest.mark.parametrize('path', BASELINES, ids=lambda path: path.stem)
def test_one_training_and_one_test_step(path, folder, monkeypatch):
    monkeypatch.chdir(folder)
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    train = DATASETS.build(config.train_dataloader.dataset)
    test = DATASETS.build(config.test_dataloader.dataset)
    model = MODELS.build(config.model)
    model.init_weights()
    before = next(model.backbone.parameters()).detach().clone()

    model.train()
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    data = model.data_preprocessor(pseudo_collate([train[0], train[1]]), training=True)
    loss, losses = model.parse_losses(model(**data, mode='loss'))
    optimizer.backward(loss)
    assert all(weight.grad is not None for weight in model.parameters())  # which DistributedDataParallel waits for
    optimizer.step()
    model.eval()
    with torch.no_grad():
        (prediction,) = model.test_step(pseudo_collate([test[0]]))

    assert loss.isfinite()
    assert not before.equal(next(model.backbone.parameters()))
    if config.default_scope == 'mmseg':
        assert losses.keys() >= {'decode.loss_ce', 'aux_0.loss_ce', 'aux_1.loss_ce'}
        # Scored at the image's size, though the network sees 512 pixels and the masks have half of the image's.
        assert test[0]['inputs'].shape == (3, 512, 512)
        assert prediction.seg_logits.data.shape == (NUM_CLASSES, 640, 640)
        assert prediction.pred_sem_seg.shape == prediction.gt_sem_seg.shape == (640, 640)
    else:
        assert test[0]['inputs'].shape == (3, 256, 256)
        assert prediction.pred_instances.keypoints.shape == (1, 98, 2)
