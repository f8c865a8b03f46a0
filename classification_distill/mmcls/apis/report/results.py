"""The table of results, seeds together, and the picture of its main figure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from ...visualization.timesteps import SHARE
from .curves import ERROR, NOT_DRAWN, is_error, style_of
from .figures import picture
from .runs import Group, Run

# The metric that is drawn, where a run has it; else its first.
MAIN = ('accuracy/top1', 'mIoU', 'NME')


@dataclass
class Results:
    """Results of runs that can be compared.

    Attributes:
        columns: Names of the metrics.
        rows: For each group the cells of ``columns``: mean and, of several seeds, deviation.
        svg: The main metric of each run; empty where there is only one group.
        main: Its name.
        note: What is not compared, and why; empty where all is.
    """

    columns: list[str]
    rows: list[list[str]]
    svg: Markup
    main: str
    note: str


def summarize(section: str, groups: Sequence[Group]) -> Results:
    """What the runs of each group ended with: validation, tests, and the training loss where it is the same sum."""
    values = [[final_metrics(run) for run in group.runs] for group in groups]
    names = dict.fromkeys(name for runs in values for metrics in runs for name in metrics)
    columns = [name for name in names if not is_error(name, names)]
    # First what one came for, so that a phone shows it unscrolled; last the loss.
    columns.sort(key=lambda name: (name == 'loss', not name.startswith('quality/student')))
    note = ''
    if len({loss_terms(run) for group in groups for run in group.runs} - {frozenset()}) > 1:
        columns.remove('loss')
        note = 'The training losses are sums of different terms, so they are not compared.'
    rows = [[_cell(name, [m for m in runs if name in m]) for name in columns] for runs in values]
    main = next((name for name in (*MAIN, *columns) if name in columns and name != 'loss'), '')
    svg = _draw(f'{section}-results', main, groups, values) if main and len(groups) > 1 else Markup()
    return Results(columns, rows, svg, main, note)


def final_metrics(run: Run) -> dict[str, float]:
    """The last value of each metric of validation, those of the newest test, and the last training loss."""
    latest: dict[str, float] = {}
    for row in run.rows:
        if 'epoch' not in row and 'lr' not in row:  # of a validation
            latest |= {key: v for key, v in row.items() if key not in NOT_DRAWN and not key.startswith(SHARE)}
    latest |= {f'test {key}': value for key, value in run.tested.items() if key not in NOT_DRAWN}
    latest |= next(({'loss': row['loss']} for row in reversed(run.rows) if 'loss' in row), {})
    return {key: value for key, value in latest.items() if isinstance(value, int | float)}


def loss_terms(run: Run) -> frozenset[str]:
    """The names of the losses that a run's ``loss`` sums up."""
    return frozenset(key for row in run.rows for key in row if key.startswith('loss_'))


def _cell(name: str, runs: list[dict[str, float]]) -> str:
    """Of several seeds the mean and deviation, of one run its standard error, where it was measured."""
    values = [metrics[name] for metrics in runs]
    if len(values) > 1:
        return f'{np.mean(values):.4g} ± {np.std(values, ddof=1):.2g}'
    errors = [f' (standard error {metrics[name + ERROR]:.2g})' for metrics in runs if name + ERROR in metrics]
    return ''.join([*(f'{value:.4g}' for value in values), *errors])


def _draw(figure: str, name: str, groups: Sequence[Group], values: list[list[dict]]) -> Markup:
    """A dot a run, a bar a standard deviation."""
    with picture(figure, f'{name} at the end, by group', height=0.7 + 0.42 * len(groups)) as drawn:
        place = drawn.axes.get_yaxis_transform()  # x in widths of the panel
        for row, runs in enumerate(values):
            found, color = [m[name] for m in runs if name in m], style_of(row)['color']
            drawn.axes.plot(found, [row] * len(found), '.', color=color, alpha=0.5)
            if len(found) > 1:
                drawn.axes.errorbar(np.mean(found), row, xerr=np.std(found, ddof=1), fmt='o', color=color, capsize=3)
            drawn.axes.text(0.01, row - 0.25, groups[row].name, transform=place, size='small', parse_math=False)
        drawn.axes.set_yticks([])
        drawn.axes.set_ylim(len(groups) - 0.5, -0.7)
        drawn.axes.set_xlabel(name, parse_math=False)
    return drawn.svg
