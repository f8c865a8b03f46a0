"""The curves of runs that can be compared: one figure a quantity, one colour a group."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from .figures import COLORS, STYLES, picture
from .runs import Group, Run

POINTS = 200  # of a curve: of more, each is the mean of several
NOT_DRAWN = ('lr', 'base_lr', 'momentum', 'data_time', 'time', 'memory', 'epoch', 'iter', 'step')
ERROR = '_error'  # behind the name of a metric: its standard error
FIRST = ('loss', 'accuracy/top1', 'mIoU', 'NME', 'reward', 'policy_entropy', 'timestep_mean')


@dataclass
class Curve:
    """One quantity through training.

    Attributes:
        name: As it was logged.
        svg: The figure; the lines of group ``i`` have ids that end in ``-g<i>``.
    """

    name: str
    svg: Markup


def draw_curves(section: str, groups: Sequence[Group]) -> list[Curve]:
    """All that at least one run logged more than once, the most telling first."""
    names = dict.fromkeys(key for group in groups for run in group.runs for row in run.rows for key in row)
    curves = []
    for name in sorted((name for name in names if name not in NOT_DRAWN and not is_error(name, names)), key=_rank):
        found = [[series_of(run, name) for run in group.runs] for group in groups]
        series = {i: [one for one in runs if len(one[0]) > 1] for i, runs in enumerate(found)}
        if any(series.values()):
            curves.append(Curve(name, _draw(f'{section}-c{len(curves)}', name, series, groups)))
    return curves


def is_error(name: str, names: Container[str]) -> bool:
    """Whether a metric is the standard error of another one of ``names``."""
    return name.endswith(ERROR) and name.removesuffix(ERROR) in names


def style_of(index: int) -> dict:
    """Colour and dashes of the group with this index."""
    return {'color': COLORS[index % len(COLORS)], 'linestyle': STYLES[index // len(COLORS) % len(STYLES)]}


def series_of(run: Run, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Iterations and values of what a run logged under a name, at most ``POINTS``."""
    pairs = [(row['iter'], row[name]) for row in run.rows if isinstance(row.get(name), int | float)]
    points = np.array(pairs, dtype=float).reshape(-1, 2)
    parts = np.array_split(points, min(POINTS, len(points)) or 1)
    means = np.array([part.mean(0) for part in parts if len(part)]).reshape(-1, 2)
    return means[:, 0], means[:, 1]


def mean_and_deviation(series: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of several runs, at the iterations of the shortest."""
    x = min((x for x, _ in series), key=lambda x: x[-1])
    values = np.stack([np.interp(x, *one) for one in series])
    return x, values.mean(0), values.std(0, ddof=1) if len(values) > 1 else np.zeros_like(x)


def _rank(name: str) -> tuple[int, str]:
    if name in FIRST:
        return FIRST.index(name), name
    return len(FIRST) + ('/' in name), name


def _draw(figure: str, name: str, series: dict[int, list], groups: Sequence[Group]) -> Markup:
    shown = ', '.join(groups[i].name for i, runs in series.items() if runs)
    with picture(figure, f'{name} through training, of {shown}') as drawn:
        for i, runs in series.items():
            if runs:
                x, mean, deviation = mean_and_deviation(runs)
                drawn.axes.plot(x, mean, gid=f'line-g{i}', linewidth=1.6, **style_of(i))
                if len(runs) > 1:
                    low, high = mean - deviation, mean + deviation
                    color = style_of(i)['color']
                    drawn.axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0, gid=f'band-g{i}')
        drawn.axes.set_xlabel('iteration')
        drawn.axes.xaxis.get_major_locator().set_params(integer=True)
    return drawn.svg
