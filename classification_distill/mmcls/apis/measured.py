"""What the training of a student measured, for its model card."""

from collections.abc import Iterator

from ..configs import type_name
from ..files import read_rows
from ..visualization.timesteps import SHARE
from .student import Student

NO_METRICS = ('lr', 'base_lr', 'data_time', 'time', 'memory', 'epoch', 'iter', 'step')
QUALITY = 'quality/'  # of the scalars of StudentQualityHook and StudentAgreementHook
MEASURES = (
    (
        'Labelled images classified by the features, in % (standard error), as the training measured it.',
        {'knn': 'by the 10 nearest neighbours', 'linear': 'by a linear probe'},
    ),
    (
        "Without labels: how many of an image's 10 nearest neighbours stay the same in other views of the images, and "
        'in how many directions the features vary.',
        {'agreement': 'neighbours that stay, % (standard error)', 'rank': 'effective rank'},
    ),
)


def describe_quality(student: Student) -> str:
    """A section on how good the student is, where its training measured it: with labels, without, or both."""
    rows = [row for row in _logged(student) if any(key.startswith(QUALITY) for key in row)]
    start: dict[str, float] = {}
    for row in rows:
        start |= row if row['step'] == 0 else {}
    latest = {key: value for row in rows for key, value in row.items()}
    measured = {'this student': ('student', latest), 'pixels': ('pixels', latest), 'teacher': ('teacher', latest)}
    measured['student before the training'] = ('student', start)
    tables = []
    for about, columns in MEASURES:
        lines = [
            f'| {name} | {" | ".join(_with_error(found, key) for key in keys)} |'
            for name, (who, found) in measured.items()
            if (keys := [f'{QUALITY}{who}_{column}' for column in columns])[0] in found
        ]
        if lines:
            head = [f'| features of | {" | ".join(columns.values())} |', f'|{"---|" * (len(columns) + 1)}']
            tables.append('\n'.join([about, '', *head, *lines, '', '']))
    return '## How good it is\n\n' + ''.join(tables) if tables else ''


def describe_metrics(student: Student) -> str:
    """A section of the last values that were logged up to the checkpoint."""
    latest = {
        key: value
        for row in _logged(student)
        for key, value in row.items()
        if key not in NO_METRICS and not key.startswith((QUALITY, SHARE))
    }
    if not latest:
        return ''
    note = ''
    if type_name(student.config['model']) == 'RepFusion' and any('/' in key for key in latest):  # as accuracy/top1
        note = "\nMetrics of validation are those of the task head on the teacher's features, not the student's.\n"
    rows = [f'| {key} | {value:.4g} |' for key, value in latest.items() if isinstance(value, int | float)]
    return '\n'.join(['## Last metrics', note, '| | |', '|---|---|', *rows, '', ''])


def _logged(student: Student) -> Iterator[dict]:
    """What was logged up to the checkpoint, where ``scalars.json`` lies beside it."""
    for log in sorted(student.checkpoint.parent.glob('*/vis_data/scalars.json')):
        for row in read_rows(log):
            # The step of a validation is an epoch; that of the student's quality an iteration.
            is_quality = any(key.startswith(QUALITY) for key in row)
            if row.get('iter', row['step'] if is_quality else 0) > student.iteration:
                break
            yield row


def _with_error(measured: dict[str, float], key: str) -> str:
    error = measured.get(f'{key}_error')
    return f'{measured[key]:.1f}' + ('' if error is None else f' ({error:.1f})')
