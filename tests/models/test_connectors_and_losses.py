import pytest
import torch
from mmcls.models import ConvConnector, FeatureStandardizer, HintLoss


@pytest.mark.parametrize('size', [1, 3, 4, 9])
def test_connector_reaches_the_teachers_shape(size):
    connector = ConvConnector(5, 7)
    assert connector(torch.rand(2, 5, 4, 4), (2, 7, size, size)).shape == (2, 7, size, size)


def test_connector_pools_for_a_pooled_target():
    connector, feature = ConvConnector(5, 7), torch.rand(2, 5, 4, 4)
    pooled = connector.conv(feature).mean((2, 3), keepdim=True)
    assert torch.allclose(connector(feature, (2, 7, 1, 1)), pooled, atol=1e-6)


def test_hint_loss_by_hand():
    student, teacher = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[0.0, 0.0]]]])
    assert HintLoss(loss_weight=2).forward(student, teacher).item() == pytest.approx(2 * 2**2)
    assert HintLoss(loss_weight=2, pooled=False)(student, teacher).item() == pytest.approx(2 * (1 + 9) / 2)


def test_hint_loss_gradient():
    student = torch.rand(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    teacher = torch.rand(2, 3, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: HintLoss(0.5, pooled=False)(s, teacher), student)


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
