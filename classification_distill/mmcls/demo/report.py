"""The demo's tables, figure and closing sentences."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..apis.jobs import Job
from ..files import write_text
from ..visualization.timesteps import draw_through_training, read_histogram, shares_of
from .comparison import NUM_TUNING_SEEDS, Comparison

SCRATCH_STYLES = (('silver', '--'), ('dimgray', ':'))  # of the library's initialisation and of torch's
ROW = ('task', 'start', 'labels', 'learning_rate', 'seed', 'validation', 'test')


def write(comparisons: list[Comparison], folder: Path, name: str) -> str:
    """Write what was measured, and return what to read of it.

    Files: ``table_<name>.md``, the raw rows ``rows_<name>.csv``, and ``figure_<name>.png`` where REINFORCE is compared.

    Args:
        comparisons: The runs of each task, their tests too; those of a part of the demo have the same starts.
        folder: Where to write.
        name: Which part of the demo it is.
    """
    paragraphs = [paragraph for comparison in comparisons for paragraph in _describe(comparison)]
    if comparisons[0].policy_start:
        figure = folder / f'figure_{name}.png'
        _draw(comparisons, figure)
        paragraphs.insert(-len(comparisons[-1].label_counts), f'Figure: {figure}')
    text = '\n\n'.join(paragraphs)
    (folder / f'table_{name}.md').write_text(text + '\n')
    write_rows(folder / f'rows_{name}.csv', ROW, (row for each in comparisons for row in _rows(each)))
    return f'\n{text}'


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write raw rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([header, *rows])
    write_text(path, text.getvalue())


def preview(comparisons: list[Comparison]) -> str:
    """The tables of validation images, by which learning rates were chosen."""
    return '\n\n'.join(_validation_table(comparison) for comparison in comparisons)


def _validation_table(comparison: Comparison) -> str:
    def cell(start: str, labels: int) -> str:
        rate = comparison.rate(start, labels)
        return f'{comparison.factor * comparison.validation[start, labels, rate]:.1f} at {rate:g}'

    how = f'validation images, mean of {NUM_TUNING_SEEDS} seeds at the best of {len(comparison.rates)} learning rates'
    rows = [[start, *_cells(comparison, start, cell)] for start in comparison.starts]
    return '\n' + _markdown(comparison, f'{how}; {len(comparison.seeds)} seeds on test images follow', [], rows)


def _cells(comparison: Comparison, start: str, cell: Callable[[str, int], str]) -> list[str]:
    """A start's cells, one a number of labels; empty where it has no such runs."""
    return [cell(start, n) if (start, n) in comparison.pairs else '' for n in comparison.label_counts]


def _markdown(comparison: Comparison, how: str, columns: list[str], rows: list[list[str]]) -> str:
    head = ['start', *(f'{n:,} labels' for n in comparison.label_counts), *columns]
    title = comparison.title[0].upper() + comparison.title[1:]
    lines = [f'| {" | ".join(row)} |' for row in (head, ['---'] * len(head), *rows)]
    return '\n'.join([f'{title}, {how}:', '', *lines])


def _describe(comparison: Comparison) -> list[str]:
    histograms = [_policy_sentence(*_last_counts(found))] if (found := _histograms(comparison)) else []
    sentences = [_sentence(comparison, labels) for labels in comparison.label_counts]
    return [_table(comparison), *histograms, *sentences]


def _rows(comparison: Comparison) -> Iterator[tuple]:
    """Every run, as it was logged: its metric on validation images and, where it was tested, on test images."""
    task = comparison.title.partition(',')[0]
    tested = {(*key[:2], comparison.rate(*key[:2]), key[2]): test for key, test in comparison.tests.items()}
    for key, job in comparison.jobs.items():
        if key[3] not in comparison.seeds[:NUM_TUNING_SEEDS] and key not in tested:
            continue
        values = (run and run.metric(comparison.metric) for run in (job, tested.get(key)))
        scaled = ('' if value is None else round(comparison.factor * value, 3) for value in values)
        yield task, *key, *scaled


def _table(comparison: Comparison) -> str:
    rows = []
    for start in comparison.starts:
        runs = comparison.distillations(start)
        cells = _cells(comparison, start, lambda start, labels: _cell(comparison, start, labels))
        rows.append([start, *cells, _mean_metric(runs, 'timestep_mean'), _mean_metric(runs, 'time', 1000)])
    how = f'test images: mean (deviation) of {len(comparison.seeds)} seeds at the learning rate chosen on validation'
    return _markdown(comparison, f'{how} images', ['last mean t', 'distillation, ms an iteration'], rows)


def _cell(comparison: Comparison, start: str, labels: int) -> str:
    values = comparison.values(start, labels)
    return f'{mean(values):.1f} ({stdev(values):.1f}) at {comparison.rate(start, labels):g}'


def _mean_metric(runs: list[Job], key: str, factor: float = 1) -> str:
    """Mean over runs of the last value that they logged; nothing where they logged none."""
    values = [value for run in runs if (value := run.metric(key)) is not None]
    return f'{factor * mean(values):.0f}' if values else ''


def _sentence(comparison: Comparison, labels: int) -> str:
    """Every other start against the strongest scratch, and the highlighted one against the others."""
    scratch, highlighted = comparison.strongest_scratch(labels), comparison.highlighted
    others = [start for start in comparison.starts_with(labels) if start not in comparison.scratches]
    verdicts = [f'{start} {_verdict(comparison, start, scratch, labels)}' for start in others]
    text = f'With {labels:,} labels, against {scratch} (the best on validation images): {"; ".join(verdicts)}.'
    if highlighted in others and len(others) > 1:
        verdicts = [
            f'{other} {_verdict(comparison, highlighted, other, labels)}' for other in others if other != highlighted
        ]
        text += f' {highlighted} against {"; against ".join(verdicts)}.'
    return text


def _verdict(comparison: Comparison, start: str, other: str, labels: int) -> str:
    difference, error = comparison.difference(start, other, labels)
    if abs(difference) <= 2 * error:
        verdict = 'no difference beyond twice that'
    else:
        verdict = 'better' if (difference > 0) == comparison.higher_is_better else 'worse'
    return f'{difference:+.1f} points (standard error {error:.1f}), {verdict}'


def _histograms(comparison: Comparison) -> list[Path]:
    return [job.work_dir / 'timestep_histogram.jsonl' for job in comparison.distillations(comparison.policy_start)]


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
    """A row a task: the metric by the number of labels, and the timesteps that the policy draws."""
    figure = Figure(figsize=(11, 4 * len(comparisons)), layout='constrained')
    rows = figure.subplots(len(comparisons), 2, width_ratios=[1.4, 1], squeeze=False)
    for comparison, (panel, policy) in zip(comparisons, rows, strict=True):
        _draw_starts(panel, comparison)
        _draw_policy(policy, _histograms(comparison))
    figure.legend(*rows[0, 0].get_legend_handles_labels(), loc='outside lower left', ncols=3, fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=100)


def _draw_starts(panel: Axes, comparison: Comparison) -> None:
    """Mean and standard error of each start; scratches are gray, the highlighted one is bold."""
    colors = cycle(colormaps['tab10'].colors)
    for start in comparison.starts:
        counts = [labels for labels in comparison.label_counts if (start, labels) in comparison.pairs]
        values = [comparison.values(start, labels) for labels in counts]
        if start in comparison.scratches:
            color, line = SCRATCH_STYLES[comparison.scratches.index(start)]
            style = {'color': color, 'linestyle': line}
        else:
            style = {'color': next(colors)}
        if start == comparison.highlighted:
            style['linewidth'] = 3
        errors = [stdev(each) / len(each) ** 0.5 for each in values]
        panel.errorbar(counts, [mean(each) for each in values], errors, marker='o', capsize=3, label=start, **style)
    panel.set(xscale='log', xlabel='labels', ylabel=comparison.title)
    panel.set_xticks(comparison.label_counts, [f'{labels:,}' for labels in comparison.label_counts])
    panel.minorticks_off()
    panel.grid(alpha=0.3)


def _draw_policy(panel: Axes, histograms: list[Path]) -> None:
    """Share of the images that each timestep is drawn for, through training, mean of the distillations."""
    runs = [read_histogram(path) for path in histograms]
    counts = np.mean([[row['counts'] for row in rows] for rows in runs], axis=0)
    image = draw_through_training(panel, shares_of(counts), runs[0][-1]['iter'], runs[0][-1]['num_timesteps'])
    panel.figure.colorbar(image, ax=panel, label='share of images')
    panel.set(xlabel='iteration of distillation', title='t that the policy draws')
