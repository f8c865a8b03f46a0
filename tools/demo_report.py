"""The demo's table, figure and closing sentence."""

import json
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from jobs import Job
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Accuracy = dict[tuple[str, int, int], float]
Jobs = dict[tuple[str, int, int], Job]


def write(jobs: Jobs, folder: Path, name: str) -> str:
    """Write ``table_<name>.md``, and ``figure_<name>.png`` where REINFORCE is compared; return what to read of them.

    Args:
        jobs: Fine-tuning run of ``(start, number of labels, seed)``.
        folder: Where to write.
        name: Which part of the demo it is.
    """
    accuracy = {key: job.metric('accuracy/top1') for key, job in jobs.items()}
    distillations = {key: job.needs[0] for key, job in jobs.items() if job.needs}
    paragraphs = [_table(accuracy, distillations)]
    policies = {job.work_dir for (start, *_), job in distillations.items() if start == 'REINFORCE'}
    histograms = [folder / 'timestep_histogram.jsonl' for folder in sorted(policies)]
    if histograms:
        paragraphs += [_policy_sentence(*_last_counts(histograms)), *_sentences(accuracy)]
        figure = folder / f'figure_{name}.png'
        _draw(accuracy, histograms, figure)
        paragraphs.append(f'Figure: {figure}')
    text = '\n\n'.join(paragraphs)
    (folder / f'table_{name}.md').write_text(text + '\n')
    return f'\n{text}'


def _axes_of(accuracy: Accuracy) -> tuple[list[str], list[int], list[int]]:
    return tuple(list(dict.fromkeys(key[i] for key in accuracy)) for i in range(3))


def _table(accuracy: Accuracy, distillations: Jobs) -> str:
    starts, labels, seeds = _axes_of(accuracy)
    columns = ['start', *(f'{n} labels' for n in labels), 'last mean t', 'distillation, ms an iteration']
    rows = [f'Test accuracy in %, mean (deviation) of {len(seeds)} seeds:', '']
    rows += [' | '.join(columns), ' | '.join('---' for _ in columns)]
    for start in starts:
        cells = [start]
        for n in labels:
            values = [accuracy[start, n, seed] for seed in seeds]
            cells.append(f'{mean(values):.1f} ({stdev(values):.1f})')
        runs = [job for (other, *_), job in distillations.items() if other == start]
        cells += [_mean_metric(runs, 'timestep_mean', '{:.0f}'), _mean_metric(runs, 'time', '{:.0f}', 1000)]
        rows.append(' | '.join(cells))
    return '\n'.join(rows[:2] + [f'| {row} |' for row in rows[2:]])


def _mean_metric(runs: list[Job], key: str, form: str, factor: float = 1) -> str:
    """Mean over runs of the last value that they logged; nothing where they logged none."""
    values = [value for run in runs if (value := run.metric(key)) is not None]
    return form.format(factor * mean(values)) if values else ''


def compare(accuracy: Accuracy, start: str, other: str, labels: int) -> tuple[float, float]:
    """Mean difference of two starts and its standard error.

    The seeds are paired: both starts fine-tune on the same labels in the same order.
    """
    seeds = _axes_of(accuracy)[2]
    differences = [accuracy[start, labels, seed] - accuracy[other, labels, seed] for seed in seeds]
    return mean(differences), stdev(differences) / len(seeds) ** 0.5


def _sentences(accuracy: Accuracy) -> list[str]:
    starts, labels, _ = _axes_of(accuracy)
    return [' '.join(_sentence(accuracy, other, n) for n in labels) for other in starts if other != 'REINFORCE']


def _sentence(accuracy: Accuracy, other: str, labels: int) -> str:
    difference, error = compare(accuracy, 'REINFORCE', other, labels)
    if abs(difference) <= 2 * error:
        verdict = 'no difference beyond twice the standard error'
    else:
        verdict = 'REINFORCE is better' if difference > 0 else 'REINFORCE is worse'
    return f'Against {other} at {labels} labels: {difference:+.1f} points (standard error {error:.1f}), {verdict}.'


def _last_counts(histograms: list[Path]) -> tuple[np.ndarray, int]:
    """Timesteps drawn in the last interval of each distillation, summed."""
    rows = [_rows(path)[-1] for path in histograms]
    return np.sum([row['counts'] for row in rows], axis=0), rows[0]['num_timesteps']


def _rows(histogram: Path) -> list[dict]:
    """One row an interval: a run that was killed and resumed has written some twice."""
    rows = map(json.loads, histogram.read_text().splitlines())
    return list({row['iter']: row for row in rows}.values())


def _policy_sentence(counts: np.ndarray, num_timesteps: int) -> str:
    width = num_timesteps // len(counts)
    top = np.argsort(counts)[::-1][:3]
    shares = ', '.join(f'{counts[i] / counts.sum():.0%} in [{i * width}, {(i + 1) * width})' for i in top if counts[i])
    return f'At the end the policy draws its timesteps: {shares}.'


def _draw(accuracy: Accuracy, histograms: list[Path], path: Path) -> None:
    starts, labels, seeds = _axes_of(accuracy)
    figure = Figure(figsize=(2.4 * len(labels) + 5, 3.4), layout='constrained')
    *panels, policy = figure.subplots(1, len(labels) + 1, width_ratios=[1] * len(labels) + [1.6])
    for panel, n in zip(panels, labels, strict=True):
        for row, start in enumerate(starts):
            values = [accuracy[start, n, seed] for seed in seeds]
            color = {'scratch': 'tab:gray', 'REINFORCE': 'tab:red'}.get(start, 'tab:blue')
            panel.plot(values, [row] * len(values), '.', color=color, alpha=0.35)
            panel.errorbar(mean(values), row, xerr=stdev(values) / len(values) ** 0.5, fmt='o', color=color, capsize=3)
        panel.set_yticks(range(len(starts)), starts if panel is panels[0] else [])
        panel.set(title=f'{n} labels', xlabel='test accuracy, %')
        panel.grid(axis='x', alpha=0.3)
        panel.invert_yaxis()
    _draw_policy(policy, histograms)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=100)


def _draw_policy(panel: Axes, histograms: list[Path]) -> None:
    """Share of the images that each timestep is drawn for, through training, mean of the distillations."""
    runs = [_rows(path) for path in histograms]
    counts = np.mean([[row['counts'] for row in rows] for rows in runs], axis=0)
    shares = (counts / counts.sum(1, keepdims=True)).T
    extent = (0, runs[0][-1]['iter'], 0, runs[0][-1]['num_timesteps'])
    image = panel.imshow(shares, origin='lower', aspect='auto', extent=extent, cmap='viridis')
    panel.figure.colorbar(image, ax=panel, label='share of images')
    panel.set(xlabel='iteration of distillation', ylabel='timestep t', title='t that the policy draws')
