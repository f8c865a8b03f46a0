"""The demo's table, figure and closing sentence."""

import json
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Accuracy = dict[tuple[str, int, int], float]


def write(accuracy: Accuracy, histograms: list[Path], folder: Path, name: str) -> str:
    """Write ``table_<name>.md`` and ``figure_<name>.png``; return what a person should read of them.

    Args:
        accuracy: Test accuracy in percent of ``(start, number of labels, seed)``.
        histograms: ``timestep_histogram.jsonl`` of the REINFORCE distillations.
        folder: Where to write.
        name: Which part of the demo it is.
    """
    table = _table(accuracy)
    counts, num_timesteps = _last_counts(histograms)
    text = '\n\n'.join([table, _policy_sentence(counts, num_timesteps), *_sentences(accuracy)])
    (folder / f'table_{name}.md').write_text(text + '\n')
    figure = folder / f'figure_{name}.png'
    _draw(accuracy, histograms, figure)
    return f'\n{text}\n\nFigure: {figure}'


def _axes_of(accuracy: Accuracy) -> tuple[list[str], list[int], list[int]]:
    return tuple(list(dict.fromkeys(key[i] for key in accuracy)) for i in range(3))


def _table(accuracy: Accuracy) -> str:
    starts, labels, seeds = _axes_of(accuracy)
    rows = [f'Test accuracy in %, mean (deviation) of {len(seeds)} seeds:', '']
    rows += ['| start | ' + ' | '.join(f'{n} labels' for n in labels) + ' |', '|---|' + '---|' * len(labels)]
    for start in starts:
        cells = []
        for n in labels:
            values = [accuracy[start, n, seed] for seed in seeds]
            cells.append(f'{mean(values):.1f} ({stdev(values):.1f})')
        rows.append(f'| {start} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(rows)


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
    rows = [json.loads(path.read_text().splitlines()[-1]) for path in histograms]
    return np.sum([row['counts'] for row in rows], axis=0), rows[0]['num_timesteps']


def _policy_sentence(counts: np.ndarray, num_timesteps: int) -> str:
    width = num_timesteps // len(counts)
    top = np.argsort(counts)[::-1][:3]
    shares = ', '.join(f'{counts[i] / counts.sum():.0%} in [{i * width}, {(i + 1) * width})' for i in top if counts[i])
    return f'At the end the policy draws its timesteps: {shares}.'


def _draw(accuracy: Accuracy, histograms: list[Path], path: Path) -> None:
    starts, labels, seeds = _axes_of(accuracy)
    figure = Figure(figsize=(10, 3.6), layout='constrained')
    left, right = figure.subplots(1, 2)
    for i, start in enumerate(starts):
        values = np.array([[accuracy[start, n, seed] for seed in seeds] for n in labels])
        x = np.arange(len(labels)) + 0.03 * (i - len(starts) / 2)
        left.errorbar(x, values.mean(1), values.std(1, ddof=1), marker='o', capsize=3, label=start)
    left.set_xticks(range(len(labels)), labels)
    left.set(xlabel='labels', ylabel='test accuracy, %', title=f'after fine-tuning ({len(seeds)} seeds)')
    left.legend(fontsize='small')
    for histogram in histograms:
        rows = [json.loads(line) for line in histogram.read_text().splitlines()]
        counts = np.array(rows[-1]['counts'])
        width = rows[-1]['num_timesteps'] / len(counts)
        right.stairs(counts / counts.sum(), np.arange(len(counts) + 1) * width, alpha=0.6, fill=True)
    right.set(xlabel='timestep', ylabel='share of images', title='what the policy draws at the end, each distillation')
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)
