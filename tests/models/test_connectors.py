import pytest
import torch
from mmcls.models.connectors.conv_connector import ConvConnector
from mmcls.models.connectors.resize_connector import ResizeConnector
from mmcls.models.task_heads.least_squares import LeastSquaresHead
from mmcls.models.teachers.feature_standardizer import FeatureStandardizer


@pytest.mark.parametrize('size', [1, 3, 4, 9])
def test_connector_reaches_the_teachers_shape(size):
    connector = ConvConnector(5, 7)
    assert connector(torch.rand(2, 5, 4, 4), (2, 7, size, size)).shape == (2, 7, size, size)


def test_connector_pools_for_a_pooled_target():
    connector, feature = ConvConnector(5, 7), torch.rand(2, 5, 4, 4)
    pooled = connector.conv(feature).mean((2, 3), keepdim=True)
    assert torch.allclose(connector(feature, (2, 7, 1, 1)), pooled, atol=1e-6)


def test_resize_connector_averages_down_and_keeps_the_channels():
    feature = torch.rand(2, 5, 4, 4)
    resized = ResizeConnector()(feature, (2, 7, 2, 2))
    blocks = feature.reshape(2, 5, 2, 2, 2, 2).mean((3, 5))
    assert torch.allclose(resized, blocks, atol=1e-6)
    assert torch.equal(ResizeConnector()(feature, (2, 7, 4, 4)), feature)


def test_resize_connector_interpolates_up():
    feature = torch.tensor([[[[0.0, 4.0]]]])
    assert ResizeConnector()(feature, (1, 3, 1, 4)).flatten().tolist() == [0, 1, 3, 4]


def test_each_side_is_averaged_or_interpolated_by_itself():
    feature = torch.rand(2, 5, 4, 8)
    averaged = feature.reshape(2, 5, 2, 2, 8).mean(3)
    assert torch.allclose(ResizeConnector()(feature, (2, 5, 2, 8)), averaged, atol=1e-6)
    wider = torch.nn.functional.interpolate(averaged, (2, 16), mode='bilinear')
    assert torch.allclose(ResizeConnector()(feature, (2, 5, 2, 16)), wider, atol=1e-6)
    assert torch.allclose(ResizeConnector()(feature.mT, (2, 5, 16, 2)), wider.mT, atol=1e-6)


def test_standardizer_takes_out_scale_and_timestep():
    standardizer = FeatureStandardizer(2, num_bins=2)
    t = torch.randint(1000, (4000,))
    offset = torch.where(t < 500, 10.0, -50.0)[:, None, None, None]
    for _ in range(3):
        feature = torch.randn(4000, 2, 1, 1) * torch.tensor([3.0, 0.01])[:, None, None] + offset
        standard = standardizer(feature, t)
    for half in (t < 500, t >= 500):
        assert standard[half].mean((0, 2, 3)).abs().max() < 0.1
        assert (standard[half].std((0, 2, 3)) - 1).abs().max() < 0.1


def test_standardizer_is_still_in_evaluation_and_keeps_unseen_ranges():
    standardizer = FeatureStandardizer(1, num_bins=2)
    feature, early = torch.randn(8, 1, 2, 2), torch.zeros(8, dtype=torch.int64)
    standardizer(feature, early)
    before = {k: v.clone() for k, v in standardizer.state_dict().items()}
    standardizer.eval()(feature, early)
    assert all(torch.equal(before[k], v) for k, v in standardizer.state_dict().items())
    assert torch.equal(standardizer(feature, early + 999), feature)
    standardizer.train()(feature, early + 999)
    assert all(torch.equal(before[k][0], v[0]) for k, v in standardizer.state_dict().items())
    assert standardizer.count[1] == 8


def test_statistics_are_those_of_all_pixels_however_far_from_zero():
    standardizer = FeatureStandardizer(2, momentum=0.0)
    features = torch.randn(3, 8, 2, 4, 4) * torch.tensor([1.0, 0.01])[:, None, None] + 100
    for feature in features:
        standardizer(feature, torch.zeros(8, dtype=torch.int64))
    pixels = features.double().movedim(2, 0).flatten(1)
    assert torch.allclose(standardizer.mean[0].double(), pixels.mean(1), rtol=1e-6)
    variance = (standardizer.squares / standardizer.count)[0].double()
    assert torch.allclose(variance, pixels.var(1, correction=0), rtol=2e-3)


def test_equal_images_keep_their_scale():
    standardizer = FeatureStandardizer(3)
    t = torch.zeros(2, dtype=torch.int64)
    standardizer(torch.rand(1, 3, 1, 1).expand(2, 3, 1, 1), t)
    assert standardizer.eval()(torch.rand(2, 3, 1, 1), t).abs().max() <= 1


def test_a_channel_that_hardly_changes_is_not_blown_up():
    standardizer = FeatureStandardizer(2, momentum=0.0)
    feature = torch.randn(64, 2, 1, 1) * torch.tensor([1.0, 0.0])[:, None, None]
    standardizer(feature, torch.zeros(64, dtype=torch.int64))
    other = standardizer.eval()(torch.full((1, 2, 1, 1), 0.01), torch.zeros(1, dtype=torch.int64))
    assert other.abs().max() < 20


def test_a_momentum_is_a_share():
    with pytest.raises(ValueError, match=r'momentum=1\.5: expected a share'):
        FeatureStandardizer(2, momentum=1.5)


def test_a_range_seen_once_keeps_its_scale():
    standardizer = FeatureStandardizer(3, num_bins=20)
    t = torch.zeros(1, dtype=torch.int64)
    first, second, third = torch.randn(3, 1, 3, 1, 1)
    assert torch.equal(standardizer(first, t), torch.zeros(1, 3, 1, 1))
    assert torch.allclose(standardizer.eval()(second, t), second - first)
    standardizer.train()(second, t)
    assert standardizer.eval()(third, t).abs().max() < 1e3


def test_no_part_holds_numbers_that_apples_gpus_lack():
    for part in (FeatureStandardizer(3), LeastSquaresHead(3, in_channels=6)):
        assert all(buffer.dtype != torch.float64 for buffer in part.buffers())
