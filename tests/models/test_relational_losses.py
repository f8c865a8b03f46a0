"""Losses that compare the images of a batch with each other, against their formulas as loops in float64."""

import math

import pytest
import torch
from mmcls.models.losses.info_nce import InfoNCELoss
from mmcls.models.losses.rkd import RKDLoss
from processes import run_in_two


def huber(difference):
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


def test_rkd():
    student, teacher = torch.randn(4, 3, 2, 2, dtype=torch.float64), 5 * torch.randn(4, 6, 2, 2, dtype=torch.float64)

    def relations(feature):
        points = [[sum(channel.flatten().tolist()) / 4 for channel in image] for image in feature]
        lengths = [[math.dist(a, b) for b in points] for a in points]
        mean = sum(map(sum, lengths)) / 12
        distances = [length / mean for row in lengths for length in row]
        cosines = []
        for i, at in enumerate(points):
            for j, b in enumerate(points):
                for k, c in enumerate(points):
                    dot = sum((x - o) * (y - o) for o, x, y in zip(at, b, c, strict=True))
                    cosines.append(dot / lengths[i][j] / lengths[i][k] if i not in (j, k) else 0)
        return distances, cosines

    (ds, cs), (dt, ct) = relations(student), relations(teacher)
    distance = sum(huber(s - t) for s, t in zip(ds, dt, strict=True)) / 16
    angle = sum(huber(s - t) for s, t in zip(cs, ct, strict=True)) / 64
    assert RKDLoss(angle_weight=0)(student, teacher).item() == pytest.approx(25 * distance, abs=1e-6)
    assert RKDLoss(distance_weight=0)(student, teacher).item() == pytest.approx(50 * angle, abs=1e-6)
    assert RKDLoss()(student, teacher).item() == pytest.approx(25 * distance + 50 * angle, abs=1e-6)


def test_rkd_ignores_scale_translation_and_rotation():
    teacher = torch.randn(5, 4, 1, 1, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    student = 0.01 * torch.einsum('dc,nchw->ndhw', rotation, teacher) + torch.randn(4, 1, 1, dtype=torch.float64)
    assert RKDLoss()(student, teacher).item() == pytest.approx(0, abs=1e-9)
    stretched = student * torch.tensor([3.0, 1, 1, 1])[:, None, None]
    assert RKDLoss()(stretched, teacher).item() > 0.1


def test_rkd_of_duplicate_images_has_a_gentle_gradient():
    """The teacher sees them at two timesteps, so that only the student's features coincide, exactly or nearly."""
    teacher = torch.randn(4, 6, 1, 1)
    apart = torch.randn(4, 3, 1, 1)
    for offset in (0, 1e-7):
        student = apart.clone()
        student[1] = student[0] + offset
        student.requires_grad_()
        RKDLoss()(student, teacher).backward()
        assert student.grad.isfinite().all()
        assert student.grad.abs().max() < 100
    alike = torch.ones(4, 3, 1, 1, requires_grad=True)
    RKDLoss()(alike, teacher).backward()
    assert torch.equal(alike.grad, torch.zeros_like(alike))


def test_info_nce():
    student, teacher = torch.randn(2, 4, 3, 2, 2, dtype=torch.float64)
    s, t = ([[sum(c.flatten().tolist()) / 4 for c in image] for image in f] for f in (student, teacher))
    expected = 0
    for i in range(4):
        scores = []
        for j in range(4):
            dot = sum(a * b for a, b in zip(s[i], t[j], strict=True))
            scores.append(math.exp(dot / math.hypot(*s[i]) / math.hypot(*t[j]) / 0.1))
        expected -= math.log(scores[i] / sum(scores)) / 4
    assert InfoNCELoss()(student, teacher).item() == pytest.approx(expected, abs=1e-6)


def test_info_nce_of_identical_features_is_log_n():
    feature = torch.randn(1, 3, 2, 2).expand(6, -1, -1, -1)
    assert InfoNCELoss()(feature, feature).item() == pytest.approx(math.log(6), abs=1e-6)


def compare_with_all(rank, student, teacher):
    mine = slice(3 * rank, 3 * rank + 3)
    return InfoNCELoss()(student[mine], teacher[mine]).item()


def test_info_nce_finds_its_negatives_in_all_processes(tmp_path):
    student, teacher = torch.randn(2, 6, 3, 2, 2)
    first, second = run_in_two(compare_with_all, tmp_path, student, teacher)
    assert (first + second) / 2 == pytest.approx(InfoNCELoss()(student, teacher).item(), abs=1e-6)


@pytest.mark.parametrize(('loss', 'images'), [(RKDLoss(), 2), (InfoNCELoss(), 1)])
def test_too_small_a_batch_is_refused(loss, images):
    feature = torch.rand(images, 3, 1, 1)
    with pytest.raises(ValueError, match=rf'at least {images + 1}, got {images}.*batch_size.*drop_last'):
        loss(feature, feature)
    feature = torch.rand(images + 1, 3, 1, 1)
    assert loss(feature, feature).isfinite()
