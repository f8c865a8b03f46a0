"""The protocol by which starts are compared: what is trained, what chooses, and what the test images see."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from statistics import mean, stdev

from ..apis.jobs import Job, Test

NUM_TUNING_SEEDS = 2
# How a start that is not distilled is initialised: name -> --cfg-options.
SCRATCH = {
    "scratch, MMPretrain's initialisation": {},
    # ResNet sets the last norm of each block to zero unless it is told not to.
    "scratch, torch's initialisation": {
        'model.backbone.init_cfg': None,
        'model.backbone.zero_init_residual': False,
    },
}


@dataclass(frozen=True)
class Comparison:
    """Runs of one task that differ in their start.

    The protocol of every table of the project: for each start and number of labels the learning rate is chosen among
    the same few by the mean metric of the first seeds on validation images, and only that rate's runs, of all seeds,
    see the test images, once. A start is compared with the scratch that is best on validation images, seed by seed.

    Attributes:
        title: The task's metric and unit.
        metric: Key of the metric in the logs, of validation and of test images.
        jobs: Run of ``(start, number of labels, learning rate, seed)``; those of ``tuning`` and ``chosen`` are needed.
            Not every start needs every number of labels; scratch does.
        checkpoint: Name of the file that each run ends with.
        factor: From the logged metric to the unit in ``title``.
        higher_is_better: Whether a higher metric is better.
        highlighted: The start that is compared with all others, too.
    """

    title: str
    metric: str
    jobs: dict[tuple[str, int, float, int], Job]
    checkpoint: str
    factor: float = 1
    higher_is_better: bool = True
    highlighted: str | None = None

    @property
    def pairs(self) -> list[tuple[str, int]]:
        """Each start with each of its numbers of labels."""
        return list(dict.fromkeys((start, labels) for start, labels, *_ in self.jobs))

    @property
    def starts(self) -> list[str]:
        return list(dict.fromkeys(start for start, _ in self.pairs))

    @property
    def policy_start(self) -> str | None:
        """The last start for which a policy that learns chose the timesteps."""
        return next((start for start in reversed(self.starts) if 'REINFORCE' in start), None)

    def starts_with(self, labels: int) -> list[str]:
        return [start for start, count in self.pairs if count == labels]

    @property
    def scratches(self) -> list[str]:
        return [start for start in self.starts if start.startswith('scratch')]

    @property
    def label_counts(self) -> list[int]:
        return list(dict.fromkeys(labels for _, labels in self.pairs))

    @property
    def rates(self) -> list[float]:
        return list(dict.fromkeys(rate for *_, rate, _ in self.jobs))

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(seed for *_, seed in self.jobs))

    @property
    def tuning(self) -> list[Job]:
        """The runs that choose learning rates."""
        return [job for (*_, seed), job in self.jobs.items() if seed in self.seeds[:NUM_TUNING_SEEDS]]

    @property
    def chosen(self) -> list[Job]:
        """The runs at the chosen learning rates; available once those of ``tuning`` are done."""
        return [job for (start, labels, rate, _), job in self.jobs.items() if rate == self.rate(start, labels)]

    @cached_property
    def validation(self) -> dict[tuple[str, int, float], float]:
        """Mean over the tuning seeds of the metric on validation images."""
        seeds = self.seeds[:NUM_TUNING_SEEDS]
        keys = product(self.pairs, self.rates)
        return {
            (*pair, rate): mean(self.jobs[*pair, rate, seed].metric(self.metric) for seed in seeds)
            for pair, rate in keys
        }

    def rate(self, start: str, labels: int) -> float:
        """The learning rate that is best on validation images."""
        return self._best(self.rates, lambda rate: self.validation[start, labels, rate])

    def strongest_scratch(self, labels: int) -> str:
        """The start from scratch that is best on validation images, each at its best learning rate."""
        return self._best(self.scratches, lambda start: self.validation[start, labels, self.rate(start, labels)])

    def _best(self, candidates: list, score: Callable):
        return (max if self.higher_is_better else min)(candidates, key=score)

    @cached_property
    def tests(self) -> dict[tuple[str, int, int], Test]:
        """Test of each start at its learning rate; available once those of ``tuning`` are done."""
        return {
            (*pair, seed): self._test(self.jobs[*pair, self.rate(*pair), seed])
            for pair, seed in product(self.pairs, self.seeds)
        }

    def _test(self, job: Job) -> Test:
        work_dir, checkpoint = job.work_dir / 'test', job.work_dir / self.checkpoint
        return Test(f'test, {job.name}', job.config, work_dir, job.options, (job,), job.tree, checkpoint=checkpoint)

    def values(self, start: str, labels: int) -> list[float]:
        """The metric of each seed on test images."""
        return [self.factor * self.tests[start, labels, seed].metric(self.metric) for seed in self.seeds]

    def distillations(self, start: str) -> list[Job]:
        """The runs that distilled the students of a start."""
        needs = [need for (other, *_), job in self.jobs.items() if other == start for need in job.needs]
        return list({need.work_dir: need for need in needs}.values())

    def difference(self, start: str, other: str, labels: int) -> tuple[float, float]:
        """Mean difference of two starts on test images and its standard error.

        The seeds are paired: both starts train on the same labels in the same order.
        """
        pairs = zip(self.values(start, labels), self.values(other, labels), strict=True)
        differences = [value - reference for value, reference in pairs]
        return mean(differences), stdev(differences) / len(differences) ** 0.5
