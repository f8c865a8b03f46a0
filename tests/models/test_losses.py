"""What holds for every distillation loss; logit KD."""

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from mmcls.models.losses.logit_kd import LogitKDLoss
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


def test_logit_kd():
    student, teacher = 3 * torch.randn(2, 4, 5, dtype=torch.float64)
    expected = 0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = ([math.exp(v / 4) / sum(math.exp(w / 4) for w in f) for v in f] for f in (t, s))
        expected += 4**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 4
    assert LogitKDLoss()(student, teacher).item() == pytest.approx(expected, abs=1e-6)
    assert LogitKDLoss()(teacher + 3, teacher).item() == pytest.approx(0, abs=1e-9)


def test_logit_kd_of_a_certain_teacher_is_cross_entropy():
    student, classes = 3 * torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 3, 3, 1])
    teacher = 1000.0 * F.one_hot(classes, 5)
    expected = F.cross_entropy(student, classes).item()
    assert LogitKDLoss(temperature=1)(student, teacher).item() == pytest.approx(expected, abs=1e-6)


def test_logit_kd_at_a_high_temperature_is_half_the_squared_error_of_centred_logits():
    """Hinton et al., section 2.1."""
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    centred = [logits - logits.mean(1, keepdim=True) for logits in (student, teacher)]
    expected = F.mse_loss(*centred).item() / 2
    assert LogitKDLoss(temperature=1e4)(student, teacher).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize('loss', ['InfoNCELoss', 'LogitKDLoss'])
def test_temperature_must_be_positive(loss):
    with pytest.raises(ValueError, match='temperature=0'):
        MODELS.build({'type': loss, 'temperature': 0})
