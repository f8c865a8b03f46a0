"""One HTML page, to be opened without a network, of one or several runs."""

import os
from collections.abc import Sequence
from pathlib import Path

from ...files import write_text
from .page import build_sections, render
from .runs import find_runs, group_runs


def report(work_dirs: Sequence[str | Path], out: str | Path = 'report.html') -> str:
    """Write the page.

    Args:
        work_dirs: Work directories of trainings, or folders of several.
        out: The file.

    Returns:
        str: What was written, in a sentence.

    Raises:
        UnusableInputError: When one of the folders does not exist or has no run.

    Examples:
        >>> report(['work_dirs/digits-hint'])
        'report.html: 3 runs, 0.4 MB.'
    """
    runs = find_runs([Path(folder) for folder in work_dirs])
    common = os.path.commonpath([run.folder for run in runs])
    text = render(build_sections(group_runs(runs)), f'RepFusion: {Path(common).name}')
    write_text(out, text)
    return f'{out}: {len(runs)} run{"s" * (len(runs) > 1)}, {Path(out).stat().st_size / 1e6:.1f} MB.'
