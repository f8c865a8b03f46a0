import math

import pytest
import torch
import torch.nn.functional as F
from mmcls.models import DenseSegHead, HeatmapHead, LeastSquaresHead, PooledMLPHead, ViewAgreementHead
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from mmpretrain.structures import DataSample


def class_samples(labels):
    return [DataSample().set_gt_label(label) for label in labels]


def clusters(count, channels=6, classes=3):
    """Maps whose average tells the class, and the labels."""
    labels = torch.arange(count) % classes
    means = 3 * torch.eye(classes, channels)[labels]
    return (means[..., None, None] + torch.randn(count, channels, 2, 2)), labels.tolist()


def test_cross_entropy_of_each_image():
    head = PooledMLPHead(3, in_channels=6)
    features, labels = clusters(8)
    logits = head.mlp(features.mean((2, 3)))
    expected = -logits.log_softmax(1)[torch.arange(8), labels]
    assert torch.allclose(head.loss([features], class_samples(labels)), expected, atol=1e-6)


def test_layers_stand_side_by_side():
    head = PooledMLPHead(3, in_channels=6)
    features, labels = clusters(8)
    together = head.loss([features], class_samples(labels))
    apart = head.loss([features[:, :2], features[:, 2:]], class_samples(labels))
    assert torch.allclose(together, apart)


@pytest.mark.parametrize('head', [PooledMLPHead(3, in_channels=6), LeastSquaresHead(3, in_channels=6)])
def test_heads_of_classes_need_labels(head):
    with pytest.raises(ValueError, match=r'needs the class of every image.*ViewAgreementHead'):
        head.loss([clusters(2)[0]], [DataSample(), DataSample()])


def test_least_squares_is_the_residual_of_the_regression_on_the_batches_before():
    head = LeastSquaresHead(3, in_channels=6, ridge=0.1, momentum=0.25)
    (first, first_labels), (second, second_labels), (third, third_labels) = (clusters(9) for _ in range(3))
    assert torch.allclose(head.loss([first], class_samples(first_labels)), torch.ones(9))  # nothing is known yet
    head.loss([second], class_samples(second_labels))

    x = torch.cat([first, second]).mean((2, 3)).double()
    x = torch.cat([x, torch.ones(18, 1)], 1)
    y = F.one_hot(torch.tensor(first_labels + second_labels), 3).double()
    weight = torch.tensor([0.75] * 9 + [1.0] * 9, dtype=torch.float64)[:, None]
    gram = x.T @ (weight * x)
    solution = torch.linalg.inv(gram + 0.1 * gram.diagonal().mean() * torch.eye(7)) @ x.T @ (weight * y)
    z = torch.cat([third.mean((2, 3)).double(), torch.ones(9, 1)], 1)
    expected = (F.one_hot(torch.tensor(third_labels), 3) - z @ solution).square().sum(1)
    assert torch.allclose(head.loss([third], class_samples(third_labels)).double(), expected, atol=1e-6)


def test_least_squares_learns_nothing_in_evaluation_and_predicts():
    head = LeastSquaresHead(3, in_channels=6)
    for _ in range(20):
        features, labels = clusters(30)
        head.loss([features], class_samples(labels))
    gram = head.gram.clone()
    head.eval()
    features, labels = clusters(90)
    head.loss([features], class_samples(labels))
    assert torch.equal(head.gram, gram)
    predicted = [sample.pred_label.item() for sample in head.predict([features], class_samples(labels))]
    assert sum(p == label for p, label in zip(predicted, labels, strict=True)) > 80


def test_agreement_is_zero_for_equal_views_and_log_2_for_views_as_far_as_images():
    head = ViewAgreementHead()
    a, c = torch.randn(2, 5, 4, 1, 1)
    assert torch.allclose(head.loss([a], [], [[a], [c]]), torch.zeros(5))
    assert torch.allclose(head.loss([a], [], [[c], [c]]), torch.full((5,), math.log(2)))


def test_agreement_does_not_see_what_the_timestep_adds_to_all_three():
    head = ViewAgreementHead()
    a, b, c = torch.randn(3, 5, 4, 1, 1)
    shift = 100 * torch.randn(5, 4, 1, 1)
    plain, shifted = head.loss([a], [], [[b], [c]]), head.loss([a + shift], [], [[b + shift], [c + shift]])
    assert torch.allclose(plain, shifted, atol=1e-3)


def test_views_are_of_the_image_and_of_the_one_after_it():
    images = torch.rand(4, 1, 1, 1).expand(4, 3, 16, 16) * torch.tensor([-1.0, 1, -1, 1])[:, None, None, None]
    view, other = ViewAgreementHead(max_contrast=0.0).views(images)
    assert torch.allclose(view, images, atol=1e-5)
    assert torch.allclose(other, images.roll(-1, 0), atol=1e-5)


def test_views_differ_from_image_to_image_and_stay_in_range():
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    view, _ = ViewAgreementHead().views(image.expand(6, -1, -1, -1))
    assert view.abs().max() <= 1
    distances = torch.pdist(view.flatten(1))
    assert distances.min() > 0.1


@pytest.mark.parametrize('flip', [True, False])
def test_views_are_mirrored_only_where_allowed(flip):
    image = torch.linspace(-1, 1, 16).expand(32, 3, 16, 16)
    view, _ = ViewAgreementHead(flip=flip, max_shift=0, max_scale=0, max_contrast=0).views(image)
    mirrored = (view - image.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    same = (view - image).abs().amax((1, 2, 3)) < 1e-4
    assert (mirrored | same).all()
    assert mirrored.any() == flip


def test_agreement_predicts_nothing():
    with pytest.raises(ValueError, match='ViewAgreementHead predicts nothing'):
        ViewAgreementHead().predict([torch.zeros(1, 4, 1, 1)], None)


def test_parsing_loss_is_the_mean_over_an_images_labelled_pixels():
    head = DenseSegHead(3, in_channels=6)
    coarse, fine = torch.randn(2, 2, 2, 2), torch.randn(2, 4, 4, 4)
    target = torch.randint(3, (2, 8, 8))
    target[0, :4] = 255
    samples = [BaseDataElement(gt_sem_seg=PixelData(data=labels[None])) for labels in target]
    maps = torch.cat([F.interpolate(coarse, (4, 4), mode='bilinear'), fine], 1)
    log_probs = F.interpolate(head.conv(maps), (8, 8), mode='bilinear').log_softmax(1)
    losses = head.loss([coarse, fine], samples)
    for image in range(2):
        labelled = target[image] != 255
        chosen = log_probs[image].permute(1, 2, 0)[labelled].gather(1, target[image][labelled][:, None])
        assert losses[image].item() == pytest.approx(-chosen.mean().item(), rel=1e-5)


def test_heat_map_loss_is_relative_to_predicting_zeros_and_counts_visible_points():
    head = HeatmapHead(5, in_channels=6)
    feature, target = torch.randn(2, 6, 4, 4), torch.rand(2, 5, 8, 8)
    weights = torch.ones(2, 1, 5)
    weights[0, 0, 1] = 0
    samples = [
        BaseDataElement(
            gt_fields=PixelData(heatmaps=heatmaps), gt_instance_labels=InstanceData(keypoint_weights=visible)
        )
        for heatmaps, visible in zip(target, weights, strict=True)
    ]
    predicted = F.interpolate(head.conv(feature), (8, 8), mode='bilinear')
    seen = [0, 2, 3, 4]
    expected = (predicted[0, seen] - target[0, seen]).square().sum() / target[0, seen].square().sum()
    assert head.loss([feature], samples)[0].item() == pytest.approx(expected.item(), rel=1e-5)
    torch.nn.init.zeros_(head.conv.weight)
    torch.nn.init.zeros_(head.conv.bias)
    assert torch.allclose(head.loss([feature], samples), torch.ones(2))


@pytest.mark.parametrize('head', [DenseSegHead(3, in_channels=6), HeatmapHead(3, in_channels=6)])
def test_dense_heads_need_dense_labels(head):
    with pytest.raises(ValueError, match=rf'{type(head).__name__} needs .* End its pipeline with'):
        head.loss([torch.randn(1, 6, 4, 4)], [BaseDataElement()])
