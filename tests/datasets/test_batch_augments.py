"""Augmentation by the batch: each image by its own draws, and pixels that were in the image."""

import pytest
import torch
from mmcls.datasets import BatchColorJitter, BatchCrop, BatchFlip, BatchPreprocessor, BatchResizedCrop, SampleBatch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.randint(1, 256, (64, 3, 8, 6), dtype=torch.uint8)


def test_a_crop_is_a_part_of_the_image_in_its_border(images):
    cropped = BatchCrop(padding=2)(images)
    assert cropped.dtype == torch.uint8
    assert cropped.shape == images.shape
    padded = torch.nn.functional.pad(images, [2] * 4)
    places = set()
    for image, crop in zip(padded, cropped, strict=True):
        found = [(y, x) for y in range(5) for x in range(5) if torch.equal(image[:, y : y + 8, x : x + 6], crop)]
        assert len(found) == 1
        places.update(found)
    assert len(places) > 15  # of 25: images are shifted apart


def test_some_images_are_mirrored(images):
    mirrored = BatchFlip(0.5)(images)
    same = (mirrored == images).flatten(1).all(1)
    turned = (mirrored == images.flip(3)).flatten(1).all(1)
    assert (same ^ turned).all()
    assert 16 < turned.sum() < 48
    assert torch.equal(BatchFlip(1.0)(images), images.flip(3))


def test_a_resized_crop_of_everything_is_the_image(images):
    whole = BatchResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))(images)
    assert torch.allclose(whole, images.float(), atol=1e-3)
    assert BatchResizedCrop(size=4)(images).shape == (64, 3, 4, 4)


def test_a_resized_crop_takes_the_share_of_the_area_that_it_was_told():
    ramp = torch.arange(64.0).expand(500, 1, 64, 64)
    torch.manual_seed(0)
    parts = BatchResizedCrop(scale=(0.25, 0.25), ratio=(1.0, 1.0))(ramp)
    widths = parts[:, 0, 0, -1] - parts[:, 0, 0, 0] + 0.5
    assert torch.allclose(widths, torch.full_like(widths, 32.0), atol=0.6)
    assert parts.min() >= 0
    assert parts.max() <= 63
    assert parts[:, 0, 0, 0].std() > 5  # at different places


def test_colours_change_image_by_image_and_stay_in_range(images):
    changed = BatchColorJitter(0.4, 0.4, 0.4)(images)
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert len({round(value, 3) for value in (changed.mean((1, 2, 3)) / images.float().mean((1, 2, 3))).tolist()}) > 60
    assert torch.allclose(BatchColorJitter()(images), images.float(), atol=1e-3)


def test_normalisation_is_mmpretrains():
    settings = {'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375], 'to_rgb': True}
    inputs = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    labels = torch.arange(4)
    batch = {'inputs': inputs, 'data_samples': SampleBatch(gt_label=labels, sample_idx=labels)}
    samples = [DataSample().set_gt_label(label) for label in labels]
    listed = {'inputs': list(inputs), 'data_samples': samples}
    expected = ClsDataPreprocessor(**settings)({'inputs': list(inputs), 'data_samples': samples})['inputs']
    augmenting = BatchPreprocessor([{'type': 'BatchFlip', 'prob': 1.0}], **settings)
    for given in (batch, listed):
        assert torch.equal(augmenting(given, training=False)['inputs'], expected)
        assert torch.equal(augmenting(given, training=True)['inputs'], expected.flip(3))
    assert torch.equal(augmenting(batch)['data_samples'].gt_label, labels)


def test_mixup_takes_a_batch():
    labels = torch.arange(4)
    batch = {
        'inputs': torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8),
        'data_samples': SampleBatch(gt_label=labels, sample_idx=labels),
    }
    mixing = BatchPreprocessor(
        num_classes=4, to_onehot=True, batch_augments={'augments': [{'type': 'Mixup', 'alpha': 1.0}]}
    )
    torch.manual_seed(0)
    samples = mixing(batch, training=True)['data_samples']
    assert all(sample.gt_score.sum() == pytest.approx(1) for sample in samples)
    assert any(0 < sample.gt_score.max() < 1 for sample in samples)
