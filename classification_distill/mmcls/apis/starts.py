"""How good trainings are that differ in their start and their learning rate, by the images that chose the rate."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Start:
    """What a start leads to.

    Attributes:
        rate: Learning rate that is best on all images.
        by_rate: Accuracy in % of each learning rate.
        correct: Whether each image is classified correctly, by a rate that the other half of the images chose.
    """

    rate: float
    by_rate: dict[float, float]
    correct: Tensor

    @property
    def accuracy(self) -> float:
        return 100 * self.correct.float().mean().item()

    @property
    def error(self) -> float:
        """Standard error of the accuracy, by the number of images."""
        return _standard_error(self.correct.float())


def judge(correct: dict[float, Tensor]) -> Start:
    """Choose a learning rate, and say how good the choice is without the images that made it.

    The rate that is best on some images is a little less good on others. So each half of the images is judged by the
    rate that the other half chooses.

    Args:
        correct: Of each rate, whether each image ``(N,)`` is classified correctly.
    """
    table = torch.stack(list(correct.values()))
    crossed = table[0].clone()
    halves = torch.arange(table.shape[1]) % 2  # classes follow each other, so that both halves have some of each
    for half in (0, 1):
        chosen = table[:, halves != half].float().sum(1).argmax()
        crossed[halves == half] = table[chosen, halves == half]
    by_rate = {rate: 100 * row.float().mean().item() for rate, row in correct.items()}
    return Start(max(by_rate, key=by_rate.get), by_rate, crossed)


def difference(one: Start, other: Start) -> tuple[float, float]:
    """How many points better one start is than another on the same images, and the standard error of that."""
    each = one.correct.float() - other.correct.float()
    return 100 * each.mean().item(), _standard_error(each)


def _standard_error(values: Tensor) -> float:
    return 100 * values.std(correction=0).item() / len(values) ** 0.5
