import pytest
import torch
from mmcls.models import ConvConnector, FeatureStandardizer, ResizeConnector


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
    assert standardizer.count[1] == 8 * 4
