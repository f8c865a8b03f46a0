"""Hint and attention losses against their formulas, written out as loops in float64."""

import math

import pytest
import torch
from mmcls.models.losses.at import ATLoss
from mmcls.models.losses.hint import HintLoss


def huber(difference):
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


@pytest.mark.parametrize(
    ('norm', 'distance'), [('l2', lambda d: d**2), ('l1', abs), ('smooth_l1', huber)], ids=['l2', 'l1', 'smooth_l1']
)
def test_hint(norm, distance):
    student, teacher = 2 * torch.randn(2, 2, 3, 2, 2, dtype=torch.float64)
    values = [distance(s.item() - t.item()) for s, t in zip(student.flatten(), teacher.flatten(), strict=True)]
    expected = sum(values) / len(values)
    assert HintLoss(pooled=False, norm=norm)(student, teacher).item() == pytest.approx(expected, abs=1e-6)
    pooled = [[sum(channel.flatten().tolist()) / 4 for channel in f.flatten(0, 1)] for f in (student, teacher)]
    expected = sum(distance(s - t) for s, t in zip(*pooled, strict=True)) / 6
    assert HintLoss(norm=norm)(student, teacher).item() == pytest.approx(expected, abs=1e-6)


def test_hint_cosine():
    student, teacher = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64)
    expected = 0
    for n in range(2):
        for y in range(2):
            for x in range(2):
                s, t = student[n, :, y, x].tolist(), teacher[n, :, y, x].tolist()
                dot = sum(a * b for a, b in zip(s, t, strict=True))
                expected += (1 - dot / math.hypot(*s) / math.hypot(*t)) / 8
    loss = HintLoss(pooled=False, norm='cosine')
    assert loss(student, teacher).item() == pytest.approx(expected, abs=1e-6)
    assert loss(student, 3 * student).item() == pytest.approx(0, abs=1e-6)
    assert loss(student, -student).item() == pytest.approx(2, abs=1e-6)


@pytest.mark.parametrize('norm', ['l2', 'l1', 'smooth_l1', 'cosine'])
@pytest.mark.parametrize('pooled', [True, False])
def test_hint_of_equal_features_is_zero(norm, pooled):
    feature = torch.randn(2, 3, 4, 4)
    loss = HintLoss(pooled=pooled, norm=norm)
    assert loss.pooled == pooled
    assert loss(feature, feature.clone()).item() == pytest.approx(0, abs=1e-6)


def test_hint_refuses_an_unknown_norm():
    with pytest.raises(ValueError, match=r"norm='l3'.*'l2', 'l1', 'smooth_l1', 'cosine'"):
        HintLoss(norm='l3')


@pytest.mark.parametrize('p', [1, 2, 3])
def test_at(p):
    student, teacher = torch.randn(2, 3, 2, 2, dtype=torch.float64), torch.randn(2, 5, 2, 2, dtype=torch.float64)

    def attention(image):
        values = [sum(abs(c) ** p for c in image[:, y, x].tolist()) for y in range(2) for x in range(2)]
        return [value / math.hypot(*values) for value in values]

    expected = 0
    for s, t in zip(student, teacher, strict=True):
        expected += sum((a - b) ** 2 for a, b in zip(attention(s), attention(t), strict=True)) / 8
    assert ATLoss(p=p)(student, teacher).item() == pytest.approx(1000 * expected, abs=1e-6)


def test_at_ignores_scale_and_sign():
    student, teacher = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64)
    assert ATLoss()(student, -7 * student).item() == pytest.approx(0, abs=1e-9)
    assert ATLoss()(100 * student, teacher).item() == pytest.approx(ATLoss()(student, teacher).item(), abs=1e-9)


def test_at_refuses_what_has_no_attention():
    with pytest.raises(ValueError, match=r'\(2, 5, 1, 1\).*larger map'):
        ATLoss()(torch.rand(2, 3, 1, 1), torch.rand(2, 5, 1, 1))
    with pytest.raises(ValueError, match='p=0'):
        ATLoss(p=0)
