"""RepFusion from nothing, with data that needs no download.

Every part trains a small DPM, distils it into students, trains models from the students with few labels, and compares
them with the same models from scratch: at learning rates that validation images choose, and once on test images.
"""

import os
import subprocess
import sys

from ..apis.jobs import in_order, run_jobs
from ..configs import ROOT
from ..errors import UnusableInputError
from . import cifar10, digits, faces, report

PARTS = {
    'digits': (digits, digits.QUICK),
    'digits full': (digits, digits.FULL),
    'losses': (digits, digits.LOSSES),
    'rewards': (digits, digits.REWARDS),
    'cifar10': (cifar10, cifar10.Part()),
    'faces': (faces, faces.QUICK),
    'faces full': (faces, faces.FULL),
}


def demo(part: str = 'digits') -> str:
    """Run a part. What is finished is not run again; what was interrupted goes on.

    Args:
        part: One of ``PARTS``.

    Returns:
        str: The tables, and what they say.

    Raises:
        UnusableInputError: When there is no such part.
        JobError: When a run fails.
    """
    if part not in PARTS:
        raise UnusableInputError(f'There is no part {part!r}; the parts are {", ".join(PARTS)}.')
    domain, settings = PARTS[part]
    subprocess.run([sys.executable, ROOT / 'tools/prepare_data' / domain.DATA_SCRIPT], check=True)
    comparisons = domain.plan(settings)
    for stage in (
        lambda comparison: comparison.tuning,
        lambda comparison: comparison.chosen,
        lambda comparison: comparison.tests.values(),
    ):
        run_jobs(in_order([job for comparison in comparisons for job in stage(comparison)]), os.cpu_count())
    return report.write(comparisons, domain.WORK_DIR, part.replace(' ', '_'))
