"""RepFusion from nothing, with data that needs no download; and, with one, on CIFAR-10.

Every part distils a diffusion model into students, trains models from the students with few labels, and compares them
with the same models from scratch: at learning rates that validation images choose, and once on test images.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import ModuleType

import torch

from ..apis.jobs import in_order, run_jobs
from ..configs import ROOT
from ..errors import UnusableInputError
from . import cifar10, digits, faces, pictures, report


@dataclass(frozen=True)
class Part:
    """A part of the demo.

    Attributes:
        domain: The module that plans it.
        steps: Settings of the module's plan, one after the other; later ones build on what earlier ones ran.
        about: What it does, and for how long.
    """

    domain: ModuleType
    steps: tuple
    about: str


PARTS = {
    'digits': Part(
        digits,
        (digits.FIRST, digits.QUICK),
        'A small diffusion model is trained on 1,000 handwritten digits without labels. Students learn from it, at '
        'timesteps that a policy chooses. Then they are fine-tuned with 10, 20 and 100 labels, and so are the same '
        'networks from scratch. On 2 cores the first table comes after 4 minutes, the last after 10.',
    ),
    'digits full': Part(
        digits, (digits.FULL,), 'All policies, averages and maps, to 1,000 labels: 4 hours on 2 cores.'
    ),
    'losses': Part(digits, (digits.LOSSES,), 'All distillation losses: an hour on 2 cores.'),
    'rewards': Part(digits, (digits.REWARDS,), 'All rewards of the policy: an hour on 2 cores.'),
    'cifar10': Part(
        cifar10,
        (cifar10.Part(),),
        'Students of a diffusion model of CIFAR-10, by the paper and by the recipe, beside SimCLR, BYOL and scratch, '
        'fine-tuned with few labels: two hours, on 2 cores narrow and on 4,000 images, on a GPU at full size.',
    ),
    'faces': Part(faces, (faces.QUICK,), 'Face parsing and landmarks with 20 drawn faces: some hours on 2 cores.'),
    'faces full': Part(faces, (faces.FULL,), 'Face parsing and landmarks, 20 to 900 faces: many hours on 2 cores.'),
}


def demo(part: str = 'digits', data: str | None = None, teacher: str | None = None) -> Iterator[str]:
    """Run a part. What is finished is not run again; what was interrupted goes on.

    Args:
        part: One of ``PARTS``.
        data: Of ``'cifar10'``, a copy of the images as ``{train,test}/<class>/*``.
        teacher: Of ``'cifar10'``, the diffusion model.

    Yields:
        str: What it is about to do; then, step by step, the tables, and what they say.

    Raises:
        UnusableInputError: When there is no such part, or it takes no data or teacher.
        JobError: When a run fails.
    """
    if part not in PARTS:
        raise UnusableInputError(f'There is no part {part!r}; the parts are {", ".join(PARTS)}.')
    domain, steps, about = PARTS[part].domain, PARTS[part].steps, PARTS[part].about
    if domain is not cifar10 and (data or teacher):
        raise UnusableInputError(f'--data and --teacher are of the part cifar10; {part} brings its own.')
    yield about
    arguments = ['--images', data] if data else []
    subprocess.run([sys.executable, ROOT / 'tools/prepare_data' / domain.DATA_SCRIPT, *arguments], check=True)
    for number, settings in enumerate(steps, 1):
        comparisons = domain.plan(replace(settings, teacher=teacher) if teacher else settings)
        for stage in (
            lambda comparison: comparison.tuning,
            lambda comparison: comparison.chosen,
            lambda comparison: comparison.tests.values(),
        ):
            run_jobs(in_order([job for comparison in comparisons for job in stage(comparison)]), _num_parallel())
        name = part.replace(' ', '_') + (f'_{number}' if number < len(steps) else '')
        yield report.write(comparisons, domain.WORK_DIR, name)
        if comparisons[0].recipe:
            yield f'Predictions: {pictures.compare(comparisons[0], domain.WORK_DIR / f"predictions_{name}.png")}'


def _num_parallel() -> int:
    """Runs at a time: one a core, or as many as fill a GPU."""
    return min(4, os.cpu_count()) if torch.cuda.is_available() else os.cpu_count()
