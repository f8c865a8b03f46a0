import math

import pytest
import torch
import torch.nn.functional as F
from mmcls.models.task_heads.least_squares import LeastSquaresHead
from mmcls.models.task_heads.pooled_mlp import PooledMLPHead
from mmcls.models.task_heads.view_agreement import ViewAgreementHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from processes import run_in_two


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


@pytest.mark.parametrize('kind', ['Mixup', 'CutMix'])
def test_mixed_images_are_judged_by_the_shares_of_their_classes(kind):
    preprocessor = MODELS.build({
        'type': 'ClsDataPreprocessor', 'num_classes': 3, 'batch_augments': {'augments': [{'type': kind, 'alpha': 1.0}]},
    })  # fmt: skip
    images, labels = [torch.rand(3, 8, 8) for _ in range(6)], [0, 1, 2, 0, 1, 2]
    batch = preprocessor({'inputs': images, 'data_samples': class_samples(labels)}, training=True)
    shares = torch.stack([sample.gt_score for sample in batch['data_samples']])
    assert ((shares > 0) & (shares < 1)).any()
    features = [torch.randn(6, 6, 2, 2)]
    head = PooledMLPHead(3, in_channels=6)
    expected = -(shares * head(features).log_softmax(1)).sum(1)
    assert torch.allclose(head.loss(features, batch['data_samples']), expected, atol=1e-6)
    regression = LeastSquaresHead(3, in_channels=6)
    assert torch.allclose(regression.loss(features, batch['data_samples']), shares.square().sum(1), atol=1e-6)
    assert torch.allclose(regression.cross[-1], shares.sum(0), atol=1e-5)


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


def regress_with_all(rank, features, labels):
    head, mine = LeastSquaresHead(3, in_channels=6), slice(5 * rank, 5 * rank + 5)
    head.loss([features[mine]], class_samples(labels[mine]))
    return head.gram, head.cross


def test_least_squares_sums_over_all_processes(tmp_path):
    features, labels = clusters(10)
    alone = LeastSquaresHead(3, in_channels=6)
    alone.loss([features], class_samples(labels))
    for gram, cross in run_in_two(regress_with_all, tmp_path, features, labels):
        assert torch.allclose(gram, alone.gram)
        assert torch.allclose(cross, alone.cross)


def test_agreement_is_zero_for_equal_views_and_log_2_for_views_as_far_as_images():
    head = ViewAgreementHead()
    a, c = torch.randn(2, 5, 4, 1, 1)
    assert torch.allclose(head.loss([a], [], [[a], [c]]), torch.zeros(5))
    assert torch.allclose(head.loss([a], [], [[c], [c]]), torch.full((5,), math.log(2)))
    some = torch.cat([a[:2], c[2:]])
    assert torch.allclose(head.loss([a], [], [[some], [c]]), math.log(2) * torch.tensor([0.0, 0, 1, 1, 1]))


def test_agreement_does_not_see_what_the_timestep_adds_to_all_three():
    head = ViewAgreementHead()
    a, b, c = torch.randn(3, 5, 4, 1, 1)
    shift = 100 * torch.randn(5, 4, 1, 1)
    plain, shifted = head.loss([a], [], [[b], [c]]), head.loss([a + shift], [], [[b + shift], [c + shift]])
    assert torch.allclose(plain, shifted, atol=1e-3)


def test_views_are_of_the_image_and_of_the_one_after_it():
    images = torch.rand(4, 1, 1, 1).expand(4, 3, 16, 16) * torch.tensor([-1.0, 1, -1, 1])[:, None, None, None]
    (view, itself), (other, next_) = ViewAgreementHead(max_contrast=0.0).views(images)
    assert itself.tolist() == [0, 1, 2, 3]
    assert next_.tolist() == [1, 2, 3, 0]
    assert torch.allclose(view, images, atol=1e-5)
    assert torch.allclose(other, images.roll(-1, 0), atol=1e-5)


def test_a_share_of_the_batch_is_looked_at():
    head, images, features = ViewAgreementHead(share=0.5), torch.rand(8, 3, 8, 8), torch.randn(8, 4, 1, 1)
    (view, itself), (other, next_) = head.views(images)
    assert (len(view), len(other)) == (4, 4)
    assert (itself.tolist(), next_.tolist()) == ([0, 1, 2, 3], [1, 2, 3, 0])
    assert torch.allclose(head.loss([features], [], [[features[:4]], [features[4:]]]), torch.zeros(4))
    (view, _), _ = ViewAgreementHead(share=0.1).views(images)
    assert len(view) == 2  # an image is compared with another
    with pytest.raises(ValueError, match='share=0: expected a share of the batch'):
        ViewAgreementHead(share=0)


def test_views_differ_from_image_to_image_and_stay_in_range():
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    (view, _), _ = ViewAgreementHead().views(image.expand(6, -1, -1, -1))
    assert view.abs().max() <= 1
    distances = torch.pdist(view.flatten(1))
    assert distances.min() > 0.1


STILL = {'flip': False, 'max_shift': 0.0, 'max_scale': 0.0, 'max_contrast': 0.0}


def assert_spread(values, limit):
    """Random numbers of up to ``limit``, on both sides of 0."""
    assert values.abs().max() <= limit + 1e-5
    assert values.min() < -0.7 * limit
    assert values.max() > 0.7 * limit


def test_views_are_shifted_and_zoomed_up_to_their_limits():
    across = torch.linspace(-15, 15, 16).expand(64, 3, 16, 16) / 16  # a pixel's place, from -1 to 1
    inner = slice(6, 10)
    for image in (across, across.mT):
        (view, _), _ = ViewAgreementHead(**STILL | {'max_shift': 0.1}).views(image)
        shifts = (view - image)[..., inner, inner].flatten(1)
        assert torch.allclose(shifts, shifts[:, :1], atol=1e-5)
        assert_spread(shifts[:, 0] / 2, 0.1)
        (view, _), _ = ViewAgreementHead(**STILL | {'max_scale': 0.15}).views(image)
        zooms = (view / image)[..., inner, inner].flatten(1)
        assert torch.allclose(zooms, zooms[:, :1], atol=1e-4)
        assert_spread(zooms[:, 0] - 1, 0.15)


def test_contrast_and_brightness_of_views_change_up_to_their_limit():
    image = torch.tensor([0.5, -0.5]).expand(64, 3, 2, 2)
    (view, _), _ = ViewAgreementHead(**STILL | {'max_contrast': 0.2}).views(image)
    assert_spread(view[:, 0, 0, 0] - view[:, 0, 0, 1] - 1, 0.2)
    assert_spread(view[:, 0, 0].mean(1), 0.2)


@pytest.mark.parametrize('flip', [True, False])
def test_views_are_mirrored_only_where_allowed(flip):
    image = torch.linspace(-1, 1, 16).expand(32, 3, 16, 16)
    (view, _), _ = ViewAgreementHead(**STILL | {'flip': flip}).views(image)
    mirrored = (view - image.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    same = (view - image).abs().amax((1, 2, 3)) < 1e-4
    assert (mirrored | same).all()
    assert mirrored.any() == flip


def test_agreement_needs_another_image():
    with pytest.raises(ValueError, match=r'needs at least 2, got 1.*batch_size.*drop_last'):
        ViewAgreementHead().views(torch.rand(1, 3, 8, 8))


def test_agreement_predicts_nothing():
    with pytest.raises(ValueError, match='ViewAgreementHead predicts nothing'):
        ViewAgreementHead().predict([torch.zeros(1, 4, 1, 1)], None)
