import math

import pytest
import torch
import torch.nn.functional as F
from mmcls.models.task_heads.dense import DenseSegHead, HeatmapHead
from mmengine.structures import BaseDataElement, InstanceData, PixelData


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
    assert head.loss([10 * feature], samples).tolist() == [1, 1]  # untrained, it rewards no timestep
    torch.nn.init.normal_(head.conv.weight)
    predicted = F.interpolate(head.conv(feature), (8, 8), mode='bilinear')
    seen = [0, 2, 3, 4]
    expected = (predicted[0, seen] - target[0, seen]).square().sum() / target[0, seen].square().sum()
    assert head.loss([feature], samples)[0].item() == pytest.approx(expected.item(), rel=1e-5)


def parts(labelled):
    """Label maps of three classes, without any labelled pixel where not ``labelled``."""
    maps = [torch.randint(3, (1, 8, 8)) if each else torch.full((1, 8, 8), 255) for each in labelled]
    return [BaseDataElement(gt_sem_seg=PixelData(data=labels)) for labels in maps]


def points(labelled):
    """Heat maps of three points, none of them visible where not ``labelled``."""
    return [
        BaseDataElement(
            gt_fields=PixelData(heatmaps=torch.rand(3, 8, 8)),
            gt_instance_labels=InstanceData(keypoint_weights=torch.full((1, 3), float(each))),
        )
        for each in labelled
    ]


@pytest.mark.parametrize(('build', 'annotate'), [(DenseSegHead, parts), (HeatmapHead, points)])
def test_images_without_labels_are_neither_praised_nor_blamed(build, annotate):
    head = build(3, in_channels=6)
    feature = torch.randn(4, 6, 4, 4)
    loss = head.loss([feature], annotate([True, False, True, False]))
    assert loss[[0, 2]].min() > 0
    assert torch.allclose(loss[[1, 3]], loss[[0, 2]].mean())
    none = head.loss([feature], annotate([False] * 4))
    assert torch.allclose(none, loss[[0, 2]].mean())  # of the last batch that had some


@pytest.mark.parametrize(('build', 'annotate', 'loss'), [(DenseSegHead, parts, math.log(3)), (HeatmapHead, points, 1)])
def test_before_any_label_a_loss_is_that_of_knowing_nothing(build, annotate, loss):
    found = build(3, in_channels=6).loss([torch.randn(2, 6, 4, 4)], annotate([False] * 2))
    assert found.tolist() == pytest.approx([loss] * 2)


@pytest.mark.parametrize('head', [DenseSegHead(3, in_channels=6), HeatmapHead(3, in_channels=6)])
def test_dense_heads_need_dense_labels(head):
    with pytest.raises(ValueError, match=rf'{type(head).__name__} needs .* End its pipeline with'):
        head.loss([torch.randn(1, 6, 4, 4)], [BaseDataElement()])
