"""Distillation losses against their formulas, written out as loops in float64."""

import math
from copy import deepcopy

import pytest
import torch
from mmcls.models import ATLoss, HintLoss, InfoNCELoss, LogitKDLoss, RKDLoss
from mmpretrain.registry import MODELS

LOSSES = [
    {'type': 'HintLoss'},
    *({'type': 'HintLoss', 'pooled': False, 'norm': norm} for norm in ('l2', 'l1', 'smooth_l1', 'cosine')),
    {'type': 'ATLoss'},
    {'type': 'ATLoss', 'p': 1},
    {'type': 'RKDLoss'},
    {'type': 'LogitKDLoss'},
    {'type': 'InfoNCELoss'},
    {'type': 'CRDLoss', 'num_samples': 10, 'student_channels': 5, 'teacher_channels': 5, 'num_negatives': 4},
]
every_loss = pytest.mark.parametrize('config', LOSSES, ids=lambda c: '-'.join(map(str, list(c.values())[:3])))


def build(config, **settings):
    """The loss of a config and what it is given besides the features."""
    torch.manual_seed(0)
    loss = MODELS.build(config | settings).double()
    return loss, [torch.tensor([7, 0, 3, 9])] if loss.needs_indices else []


def features(loss, dtype=torch.float64):
    shape = (4, 5) if loss.compares == 'logits' else (4, 5, 2, 3)
    return torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)


def huber(difference):
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


@every_loss
def test_loss_weight_applies(config):
    values = []
    for weight in (1.0, 2.5):
        loss, rest = build(config, loss_weight=weight)
        values.append(loss(*features(loss), *rest).item())
    assert values[0] > 0
    assert values[1] == pytest.approx(2.5 * values[0], rel=1e-12)


@every_loss
def test_gradient(config):
    loss, rest = build(config)
    loss(*features(loss), *rest)  # CRD's constants are those of the first batch
    student, teacher = features(loss)

    def compare(student):
        torch.manual_seed(1)
        return deepcopy(loss)(student, teacher, *rest)

    assert torch.autograd.gradcheck(compare, student.requires_grad_())


@every_loss
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_under_autocast_is_computed_in_float32(config, dtype):
    loss, rest = build(config)
    loss.float()
    fresh = deepcopy(loss)
    student, teacher = (300 * feature for feature in features(loss, dtype))  # squares beyond float16
    student.requires_grad_()
    torch.manual_seed(1)
    with torch.autocast('cpu', dtype):
        value = loss(student, teacher, *rest)
    value.backward()
    assert value.dtype == torch.float32
    assert student.grad.isfinite().all()
    torch.manual_seed(1)
    assert torch.equal(value, fresh(student.float(), teacher.float(), *rest))


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


@pytest.mark.parametrize(('loss', 'images'), [(RKDLoss(), 2), (InfoNCELoss(), 1)])
def test_too_small_a_batch_is_refused(loss, images):
    feature = torch.rand(images, 3, 1, 1)
    with pytest.raises(ValueError, match=rf'at least {images + 1}, got {images}.*batch_size.*drop_last'):
        loss(feature, feature)
    feature = torch.rand(images + 1, 3, 1, 1)
    assert loss(feature, feature).isfinite()


def test_logit_kd():
    student, teacher = 3 * torch.randn(2, 4, 5, dtype=torch.float64)
    expected = 0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = ([math.exp(v / 4) / sum(math.exp(w / 4) for w in f) for v in f] for f in (t, s))
        expected += 4**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 4
    assert LogitKDLoss()(student, teacher).item() == pytest.approx(expected, abs=1e-6)
    assert LogitKDLoss()(teacher + 3, teacher).item() == pytest.approx(0, abs=1e-9)


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


@pytest.mark.parametrize('loss', ['InfoNCELoss', 'LogitKDLoss'])
def test_temperature_must_be_positive(loss):
    with pytest.raises(ValueError, match='temperature=0'):
        MODELS.build({'type': loss, 'temperature': 0})


def compare_with_all(rank, folder):
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    student, teacher = torch.load(f'{folder}/features.pt')
    mine = slice(3 * rank, 3 * rank + 3)
    torch.save(InfoNCELoss()(student[mine], teacher[mine]), f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_info_nce_finds_its_negatives_in_all_processes(tmp_path):
    student, teacher = torch.randn(2, 6, 3, 2, 2)
    torch.save((student, teacher), tmp_path / 'features.pt')
    torch.multiprocessing.spawn(compare_with_all, (str(tmp_path),), nprocs=2)
    mean = sum(torch.load(tmp_path / f'{rank}.pt') for rank in range(2)) / 2
    assert mean.item() == pytest.approx(InfoNCELoss()(student, teacher).item(), abs=1e-6)
