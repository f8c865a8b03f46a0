"""Contrastive representation distillation: its formula, its banks, resuming, and several processes."""

import io
import math

import pytest
import torch
import torch.nn.functional as F
from mmcls.models.losses.crd import CRDLoss
from processes import run_in_two


def tiny_crd(**settings) -> CRDLoss:
    torch.manual_seed(0)
    return CRDLoss(**{'num_samples': 9, 'student_channels': 3, 'teacher_channels': 4, 'embed_channels': 5} | settings)


def batch(*indices) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    n = len(indices)
    return torch.randn(n, 3, 2, 2), torch.randn(n, 4, 2, 2), torch.tensor(indices)


def embeddings(loss, student, teacher):
    return (
        F.normalize(projection(feature.mean((2, 3))), dim=1)
        for projection, feature in ((loss.student_projection, student), (loss.teacher_projection, teacher))
    )


def test_formula():
    loss = tiny_crd(num_negatives=3, temperature=0.5, loss_weight=2).double()
    constants = {}  # Z of the first batch also serves the second
    for indices in (torch.tensor([1, 8]), torch.tensor([0, 1])):
        student, teacher = torch.randn(2, 3, 2, 2, dtype=torch.float64), torch.randn(2, 4, 2, 2, dtype=torch.float64)
        of_student, of_teacher = embeddings(loss, student, teacher)
        torch.manual_seed(1)
        candidates = loss._draw(indices).tolist()
        expected = 0
        for side, anchors, bank in (('s', of_student, loss.teacher_bank), ('t', of_teacher, loss.student_bank)):
            exponentials = [
                [math.exp(sum(a * b for a, b in zip(anchor, bank[c].tolist(), strict=True)) / 0.5) for c in row]
                for anchor, row in zip(anchors.tolist(), candidates, strict=True)
            ]
            constants.setdefault(side, 9 * sum(map(sum, exponentials)) / 8)
            for row in exponentials:
                h = [e / constants[side] / (e / constants[side] + 3 / 9) for e in row]
                expected -= (math.log(h[0]) + sum(math.log(1 - negative) for negative in h[1:])) / 2
        torch.manual_seed(1)
        assert loss(student, teacher, indices).item() == pytest.approx(2 * expected, abs=1e-6)


def test_one_step_moves_the_banks_by_momentum():
    loss = tiny_crd(momentum=0.8)
    before = loss.student_bank.clone(), loss.teacher_bank.clone()
    student, teacher, indices = batch(7, 2, 4)
    loss(student, teacher, indices)
    after = loss.student_bank, loss.teacher_bank
    for old, new, given in zip(before, after, embeddings(loss, student, teacher), strict=True):
        for row in range(9):
            expected = old[row]
            if row in (7, 2, 4):
                moved = 0.8 * old[row] + 0.2 * given[(7, 2, 4).index(row)]
                expected = moved / moved.norm()
            assert torch.allclose(new[row], expected, atol=1e-6)


def test_an_image_that_comes_twice_counts_once():
    twice, once = tiny_crd(), tiny_crd()
    student, teacher, indices = batch(7, 2, 7)
    twice(student, teacher, indices)
    once(student[:2], teacher[:2], indices[:2])
    assert torch.allclose(twice.student_bank, once.student_bank, atol=1e-6)
    assert torch.allclose(twice.teacher_bank, once.teacher_bank, atol=1e-6)


def test_negatives_are_uniform_among_the_other_images():
    candidates = tiny_crd(num_negatives=80_000)._draw(torch.tensor([3, 8, 0]))
    assert candidates[:, 0].tolist() == [3, 8, 0]
    for row, index in zip(candidates[:, 1:], (3, 8, 0), strict=True):
        counts = row.bincount(minlength=9)
        assert counts[index] == 0
        assert counts.sum() == 80_000
        others = torch.cat([counts[:index], counts[index + 1 :]])
        assert (others - 10_000).abs().max() < 5 * math.sqrt(80_000 * 1 / 8 * 7 / 8)


def train(loss, steps):
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        loss(*batch(step % 9, (step + 4) % 9, 8)).backward()
        optimizer.step()


def test_resumed_training_is_bit_exact():
    loss = tiny_crd()
    train(loss, 3)
    file = io.BytesIO()
    torch.save(loss.state_dict(), file)
    state = torch.get_rng_state()
    train(loss, 3)
    file.seek(0)
    resumed = tiny_crd()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    torch.set_rng_state(state)
    train(resumed, 3)
    expected = loss.state_dict()
    assert {'student_bank', 'teacher_bank', 'log_constants'} < expected.keys()
    assert expected.keys() == resumed.state_dict().keys()
    assert all(torch.equal(expected[k], v) for k, v in resumed.state_dict().items())


def test_training_brings_the_embeddings_of_one_image_together():
    loss = tiny_crd(num_samples=32, num_negatives=64)
    student, teacher = torch.randn(32, 3, 1, 1), torch.randn(32, 4, 1, 1)
    teacher[:, :3] += 3 * student

    def rank():
        own, other = embeddings(loss, student, teacher)
        similarity = own @ other.T
        return (similarity > similarity.diagonal()[:, None]).sum(1).float().mean().item()

    before = rank()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss(student, teacher, torch.arange(32)).backward()
        optimizer.step()
    assert before > 8
    assert rank() < 4


@pytest.mark.parametrize('wrong', [-1, 9])
def test_an_index_outside_the_data_set_is_refused(wrong):
    loss = tiny_crd()
    before = {k: v.clone() for k, v in loss.state_dict().items()}
    with pytest.raises(ValueError, match=rf'{min(wrong, 4)} to {max(wrong, 4)}.*num_samples=9.*training set') as error:
        loss(*batch(4, wrong))
    assert wrong < 0 or 'at least 10' in str(error.value)
    assert all(torch.equal(v, before[k]) or v.isnan().all() for k, v in loss.state_dict().items())


@pytest.mark.parametrize(('name', 'value'), [('num_samples', 1), ('num_negatives', 0), ('temperature', 0)])
def test_settings_are_checked(name, value):
    with pytest.raises(ValueError, match=f'{name}={value}'):
        tiny_crd(**{name: value})


# Half of a batch is a process's: image 2 comes to both, image 5 twice to one.
BATCHES = ((0, 2, 5, 2), (1, 3, 8, 4), (5, 5, 0, 5))


def share_banks(rank, batches):
    loss, pair = tiny_crd(), tiny_crd(num_samples=2)
    mine = slice(2 * rank, 2 * rank + 2)
    torch.manual_seed(rank)  # negatives of their own
    states = []
    for tensors in batches[:-1]:
        loss(*(t[mine] for t in tensors))
        states.append({k: v.clone() for k, v in loss.state_dict().items()})
    pair(*(t[rank : rank + 1] for t in batches[-1]))
    return states, pair.state_dict()


def test_two_processes_hold_the_banks_of_one(tmp_path):
    batches = [batch(*indices) for indices in BATCHES] + [batch(0, 1)]
    (states, pair), (other_states, other_pair) = run_in_two(share_banks, tmp_path, batches)
    alone = tiny_crd()
    for tensors, state, other in zip(batches, states, other_states, strict=False):
        alone(*tensors)
        assert all(torch.equal(state[k], other[k]) for k in state)
        assert torch.allclose(state['student_bank'], alone.student_bank, atol=1e-6)
        assert torch.allclose(state['teacher_bank'], alone.teacher_bank, atol=1e-6)
    # Where the one negative is certain, so are the constants.
    alone = tiny_crd(num_samples=2)
    alone(*batches[-1])
    assert torch.equal(pair['log_constants'], other_pair['log_constants'])
    assert torch.allclose(pair['log_constants'], alone.log_constants, atol=1e-6)
