"""Augmentation by the batch: each image by its own draws, and pixels that were in the image."""

import pytest
import torch
from mmcls.datasets import (
    BatchColorJitter,
    BatchCrop,
    BatchFlip,
    BatchGrey,
    BatchPreprocessor,
    BatchResizedCrop,
    SampleBatch,
    ViewsPreprocessor,
)
from mmcls.datasets.draws import ViewDraws, fresh_draws
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.randint(1, 256, (64, 3, 8, 6), dtype=torch.uint8)


@pytest.fixture
def draw(images):
    return fresh_draws(len(images), images.device)


def test_a_crop_is_a_part_of_the_image_in_its_border(images, draw):
    cropped = BatchCrop(padding=2)(images, draw)
    assert cropped.dtype == torch.uint8
    assert cropped.shape == images.shape
    padded = torch.nn.functional.pad(images, [2] * 4)
    places = set()
    for image, crop in zip(padded, cropped, strict=True):
        found = [(y, x) for y in range(5) for x in range(5) if torch.equal(image[:, y : y + 8, x : x + 6], crop)]
        assert len(found) == 1
        places.update(found)
    assert len(places) > 15  # of 25: images are shifted apart


def test_some_images_are_mirrored(images, draw):
    mirrored = BatchFlip(0.5)(images, draw)
    same = (mirrored == images).flatten(1).all(1)
    turned = (mirrored == images.flip(3)).flatten(1).all(1)
    assert (same ^ turned).all()
    assert 16 < turned.sum() < 48
    assert torch.equal(BatchFlip(1.0)(images, draw), images.flip(3))


def test_a_resized_crop_of_everything_is_the_image(images, draw):
    whole = BatchResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))(images, draw)
    assert torch.allclose(whole, images.float(), atol=1e-3)
    assert BatchResizedCrop(size=4)(images, draw).shape == (64, 3, 4, 4)


def test_a_resized_crop_takes_the_share_of_the_area_that_it_was_told():
    ramp = torch.arange(64.0).expand(500, 1, 64, 64)
    torch.manual_seed(0)
    parts = BatchResizedCrop(scale=(0.25, 0.25), ratio=(1.0, 1.0))(ramp, fresh_draws(500, ramp.device))
    widths = parts[:, 0, 0, -1] - parts[:, 0, 0, 0] + 0.5
    assert torch.allclose(widths, torch.full_like(widths, 32.0), atol=0.6)
    assert parts.min() >= 0
    assert parts.max() <= 63
    assert parts[:, 0, 0, 0].std() > 5  # at different places


def test_colours_change_image_by_image_and_stay_in_range(images, draw):
    changed = BatchColorJitter(0.4, 0.4, 0.4)(images, draw)
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert len({round(value, 3) for value in (changed.mean((1, 2, 3)) / images.float().mean((1, 2, 3))).tolist()}) > 60
    assert torch.allclose(BatchColorJitter()(images, draw), images.float(), atol=1e-3)


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


def test_draws_of_a_view_are_its_own_whatever_the_batch():
    indices, views = torch.arange(20000) % 5000, torch.arange(20000) // 5000
    draws = ViewDraws(indices, views, seed=3)
    first, second = draws(2), draws(3)
    assert first.min() >= 0
    assert first.max() < 1
    chosen = torch.tensor([7, 12345, 19999])
    again = ViewDraws(indices[chosen], views[chosen], seed=3)
    assert torch.equal(again(2), first[:, chosen])
    assert torch.equal(again(3), second[:, chosen])
    other = ViewDraws(indices, views, seed=4)(2)
    # Uniform, and without relation to each other, to the next image, to the other view, or to the other seed.
    for draws_ in (first, second, other):
        counts = torch.histc(draws_.flatten(), 20, 0, 1) / draws_.numel()
        assert torch.allclose(counts, torch.full((20,), 0.05), atol=0.004)
    rows = torch.stack([first[0], first[1], second[0], other[0], first[0].roll(1), first[0].roll(5000)])
    correlation = torch.corrcoef(rows) - torch.eye(len(rows))
    assert correlation.abs().max() < 0.03


def test_a_fixed_view_is_the_same_each_time(images):
    preprocessor = BatchPreprocessor([{'type': 'BatchCrop', 'padding': 2}, {'type': 'BatchFlip'}])
    preprocessor.fix_views(3, seed=0)
    indices = torch.arange(len(images))
    seen = {}
    for start in (0, 0, 0, 0, 16, 16, 16):
        batch = {'inputs': images[start:], 'data_samples': SampleBatch(sample_idx=indices[start:])}
        batch = preprocessor(batch, training=True)
        for image, index, view in zip(
            batch['inputs'], indices[start:].tolist(), batch['data_samples'].view.tolist(), strict=True
        ):
            assert torch.equal(seen.setdefault((index, view), image), image)
    assert {view for _, view in seen} == {0, 1, 2}
    views = [[seen[i, v] for v in range(3)] for i in range(64) if all((i, v) in seen for v in range(3))]
    assert sum(torch.equal(a, b) for a, b, _ in views) < 0.2 * len(views)


@pytest.mark.parametrize('as_batch', [True, False])
def test_without_augmentation_an_image_is_shown_whole_at_the_size_of_its_crops(as_batch):
    preprocessor = BatchPreprocessor([{'type': 'BatchResizedCrop', 'size': 4}, {'type': 'BatchFlip'}])
    squares = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    squares[:, :, :, 4:] = 200
    for inputs in (squares, squares[:, :, ::2, ::2]):
        shown = preprocessor({'inputs': inputs if as_batch else list(inputs)})['inputs']
        assert shown.shape == (2, 3, 4, 4)
        assert torch.equal(shown[..., 0], torch.zeros(2, 3, 4))
        assert torch.equal(shown[..., 3], torch.full((2, 3, 4), 200.0))


def test_mixed_precision_moves_no_crop(images):
    preprocessor = BatchPreprocessor([{'type': 'BatchResizedCrop', 'scale': (0.2, 0.5)}])
    large = images.repeat_interleave(16, 2).repeat_interleave(16, 3)
    crops = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            crops.append(preprocessor({'inputs': large}, training=True)['inputs'])
    assert torch.equal(*crops)


def test_some_images_lose_their_colour(images, draw):
    changed = BatchGrey(0.5)(images, draw)
    grey = (changed == changed[:, :1]).flatten(1).all(1)
    assert 16 < grey.sum() < 48
    assert torch.equal(changed[~grey], images[~grey].float())
    assert torch.allclose(changed[grey].mean(1), images[grey].float().mean(1), atol=1e-3)


def test_some_images_keep_their_colours(images, draw):
    changed = BatchColorJitter(0.4, 0.4, 0.4, prob=0.5)(images, draw)
    assert 16 < (changed == images).flatten(1).all(1).sum() < 48


def test_views_are_drawn_apart():
    preprocessor = ViewsPreprocessor(augments=[{'type': 'BatchCrop', 'padding': 2}], mean=[0.0] * 3, std=[1.0] * 3)
    inputs = torch.randint(1, 256, (64, 3, 8, 8), dtype=torch.uint8)
    batch = {'inputs': inputs, 'data_samples': SampleBatch(sample_idx=torch.arange(64))}
    trained = preprocessor(batch, training=True)
    first, second = trained['inputs']
    assert first.shape == second.shape == inputs.shape
    assert not torch.equal(first, second)
    assert trained['data_samples'].sample_idx.tolist() == list(range(64))
    assert torch.equal(preprocessor(batch)['inputs'], inputs.float())
