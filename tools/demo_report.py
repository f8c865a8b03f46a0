"""The demo's tables, figure and closing sentences."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from jobs import Job
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmcls.engine.pictures import draw_through_training, read_histogram, shares_of

CHOSEN = 'REINFORCE'


@dataclass(frozen=True)
class Comparison:
    """Runs of one task that differ in their start.

    Attributes:
        title: The task's metric and unit.
        metric: Key of the metric in the logs.
        jobs: Run of ``(start, number of labels, seed)``.
        factor: From the logged metric to the unit in ``title``.
        higher_is_better: Whether a higher metric is better.
    """

    title: str
    metric: str
    jobs: dict[tuple[str, int, int], Job]
    factor: float = 1
    higher_is_better: bool = True

    @cached_property
    def results(self) -> dict[tuple[str, int, int], float]:
        return {key: self.factor * job.metric(self.metric) for key, job in self.jobs.items()}

    @property
    def starts(self) -> list[str]:
        return list(dict.fromkeys(start for start, _, _ in self.jobs))

    @property
    def label_counts(self) -> list[int]:
        return list(dict.fromkeys(labels for _, labels, _ in self.jobs))

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(seed for _, _, seed in self.jobs))

    def values(self, start: str, labels: int) -> list[float]:
        """The metric of each seed."""
        return [self.results[start, labels, seed] for seed in self.seeds]

    def distillations(self, start: str) -> list[Job]:
        """The runs that distilled the students of a start."""
        needs = [need for (other, *_), job in self.jobs.items() if other == start for need in job.needs]
        return list({need.work_dir: need for need in needs}.values())

    def difference(self, start: str, other: str, labels: int) -> tuple[float, float]:
        """Mean difference of two starts and its standard error.

        The seeds are paired: both starts train on the same labels in the same order.
        """
        pairs = zip(self.values(start, labels), self.values(other, labels), strict=True)
        differences = [value - reference for value, reference in pairs]
        return mean(differences), stdev(differences) / len(differences) ** 0.5


def write(comparisons: list[Comparison], folder: Path, name: str) -> str:
    """Write ``table_<name>.md``, and ``figure_<name>.png`` where REINFORCE is compared; return what to read of them.

    Args:
        comparisons: The runs of each task; those of a part of the demo have the same starts.
        folder: Where to write.
        name: Which part of the demo it is.
    """
    paragraphs = [paragraph for comparison in comparisons for paragraph in _describe(comparison)]
    if CHOSEN in comparisons[0].starts:
        figure = folder / f'figure_{name}.png'
        _draw(comparisons, figure)
        paragraphs.append(f'Figure: {figure}')
    text = '\n\n'.join(paragraphs)
    (folder / f'table_{name}.md').write_text(text + '\n')
    return f'\n{text}'


def _describe(comparison: Comparison) -> list[str]:
    paragraphs = [_table(comparison)]
    if histograms := _histograms(comparison):
        paragraphs.append(_policy_sentence(*_last_counts(histograms)))
        if len(comparison.seeds) > 1:
            paragraphs += _sentences(comparison)
    return paragraphs


def _table(comparison: Comparison) -> str:
    counts = [f'{n:,} labels' for n in comparison.label_counts]
    columns = ['start', *counts, 'last mean t', 'distillation, ms an iteration']
    seeds = len(comparison.seeds)
    spread = f'mean (deviation) of {seeds} seeds' if seeds > 1 else 'one seed'
    rows = [columns, ['---'] * len(columns)]
    for start in comparison.starts:
        cells = [_cell(comparison.values(start, n)) for n in comparison.label_counts]
        runs = comparison.distillations(start)
        rows.append([start, *cells, _mean_metric(runs, 'timestep_mean'), _mean_metric(runs, 'time', 1000)])
    title = comparison.title[0].upper() + comparison.title[1:]
    return '\n'.join([f'{title}, {spread}:', '', *(f'| {" | ".join(row)} |' for row in rows)])


def _cell(values: list[float]) -> str:
    return f'{mean(values):.1f} ({stdev(values):.1f})' if len(values) > 1 else f'{values[0]:.1f}'


def _mean_metric(runs: list[Job], key: str, factor: float = 1) -> str:
    """Mean over runs of the last value that they logged; nothing where they logged none."""
    values = [value for run in runs if (value := run.metric(key)) is not None]
    return f'{factor * mean(values):.0f}' if values else ''


def _sentences(comparison: Comparison) -> list[str]:
    others = [start for start in comparison.starts if start != CHOSEN]
    return [' '.join(_sentence(comparison, other, n) for n in comparison.label_counts) for other in others]


def _sentence(comparison: Comparison, other: str, labels: int) -> str:
    difference, error = comparison.difference(CHOSEN, other, labels)
    if abs(difference) <= 2 * error:
        verdict = 'no difference beyond twice the standard error'
    else:
        verdict = f'{CHOSEN} is {"better" if (difference > 0) == comparison.higher_is_better else "worse"}'
    return f'Against {other} at {labels} labels: {difference:+.1f} points (standard error {error:.1f}), {verdict}.'


def _histograms(comparison: Comparison) -> list[Path]:
    return [job.work_dir / 'timestep_histogram.jsonl' for job in comparison.distillations(CHOSEN)]


def _last_counts(histograms: list[Path]) -> tuple[np.ndarray, int]:
    """Timesteps drawn in the last interval of each distillation, summed."""
    rows = [read_histogram(path)[-1] for path in histograms]
    return np.sum([row['counts'] for row in rows], axis=0), rows[0]['num_timesteps']


def _policy_sentence(counts: np.ndarray, num_timesteps: int) -> str:
    width = num_timesteps // len(counts)
    top = np.argsort(counts)[::-1][:3]
    shares = ', '.join(f'{counts[i] / counts.sum():.0%} in [{i * width}, {(i + 1) * width})' for i in top if counts[i])
    return f'At the end the policy draws its timesteps: {shares}.'


def _draw(comparisons: list[Comparison], path: Path) -> None:
    """A row a task: the metric at each number of labels, and the timesteps that the policy draws."""
    num_panels = len(comparisons[0].label_counts)
    figure = Figure(figsize=(2.4 * num_panels + 5, 3.4 * len(comparisons)), layout='constrained')
    rows = figure.subplots(len(comparisons), num_panels + 1, width_ratios=[1] * num_panels + [1.6], squeeze=False)
    for comparison, (*panels, policy) in zip(comparisons, rows, strict=True):
        for panel, labels in zip(panels, comparison.label_counts, strict=True):
            _draw_starts(panel, comparison, labels)
            panel.set_yticks(range(len(comparison.starts)), comparison.starts if panel is panels[0] else [])
        _draw_policy(policy, _histograms(comparison))
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=100)


def _draw_starts(panel: Axes, comparison: Comparison, labels: int) -> None:
    for row, start in enumerate(comparison.starts):
        values = comparison.values(start, labels)
        color = {'scratch': 'tab:gray', CHOSEN: 'tab:red'}.get(start, 'tab:blue')
        panel.plot(values, [row] * len(values), '.', color=color, alpha=0.35)
        error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
        panel.errorbar(mean(values), row, xerr=error, fmt='o', color=color, capsize=3)
    panel.set(title=f'{labels:,} labels', xlabel=comparison.title)
    panel.grid(axis='x', alpha=0.3)
    panel.invert_yaxis()


def _draw_policy(panel: Axes, histograms: list[Path]) -> None:
    """Share of the images that each timestep is drawn for, through training, mean of the distillations."""
    runs = [read_histogram(path) for path in histograms]
    counts = np.mean([[row['counts'] for row in rows] for rows in runs], axis=0)
    image = draw_through_training(panel, shares_of(counts), runs[0][-1]['iter'], runs[0][-1]['num_timesteps'])
    panel.figure.colorbar(image, ax=panel, label='share of images')
    panel.set(xlabel='iteration of distillation', title='t that the policy draws')
