"""RepFusion from nothing, with data that needs no download; and, with one, on CIFAR-10.

Every part distils a diffusion model into students, trains models from the students with few labels, and compares them
with the same models from scratch: at learning rates that validation images choose, and once on test images.
"""

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import torch

from ..apis.job_runner import run_jobs, runs_at_a_time
from ..apis.jobs import Job, in_order
from ..configs import ROOT
from ..errors import UnusableInputError
from . import cifar10, digits, faces, factors, linear, pictures, report, timesteps
from .comparison import Comparison


@dataclass(frozen=True)
class Part:
    """A part of the demo.

    Attributes:
        domain: The module that plans it, or has a ``study`` of its own.
        settings: Of its plan.
        about: What it does, and for how long.
    """

    domain: ModuleType
    settings: object
    about: str


PARTS = {
    'digits': Part(
        digits,
        digits.QUICK,
        'A small diffusion model is trained on 1,000 handwritten digits without labels. Students learn from it, at '
        'timesteps that a policy chooses. Then they are fine-tuned with 20 labels, two of each digit, and so are the '
        'same networks from scratch. On 2 cores the first table comes after some 4 minutes, the last after 8.',
    ),
    'digits few': Part(
        digits,
        digits.FEW,
        'The same with 10, 20 and 100 labels, and a fixed timestep: half an hour or more on 2 cores.',
    ),
    'digits full': Part(
        digits, digits.FULL, 'All policies, averages and maps, 50 to 1,000 labels: an hour and a half.'
    ),
    'losses': Part(digits, digits.LOSSES, 'All distillation losses: an hour on 2 cores.'),
    'rewards': Part(digits, digits.REWARDS, 'All rewards of the policy: an hour on 2 cores.'),
    'cifar10': Part(
        cifar10,
        cifar10.Part(),
        'Students of a diffusion model of CIFAR-10, by the paper and by the recipe, beside SimCLR, BYOL and scratch, '
        'fine-tuned with few labels: some hours, on 2 cores narrow and on 4,000 images, on a GPU at full size.',
    ),
    'cifar10 factors': Part(
        factors,
        cifar10.Part(),
        'What each part of the recipe is worth: one factor of the distillation on CIFAR-10 at a time, with 250 '
        'labels, on validation images: some hours on 2 cores.',
    ),
    'cifar10 timesteps': Part(
        timesteps,
        cifar10.Part(),
        'Whether images of CIFAR-10 differ in the timestep at which the diffusion model is best read: ten minutes on '
        '2 cores.',
    ),
    'faces': Part(faces, faces.QUICK, 'Face parsing and landmarks with 20 drawn faces: some hours on 2 cores.'),
    'faces full': Part(faces, faces.FULL, 'Face parsing and landmarks, 10 to 900 faces: days on 2 cores.'),
}


def demo(part: str = 'digits', data: str | None = None, teacher: str | None = None) -> Iterator[str]:
    """Run a part. What is finished is not run again; what was interrupted goes on.

    Args:
        part: One of ``PARTS``.
        data: Of the parts of CIFAR-10, a copy of the images as ``{train,test}/<class>/*``.
        teacher: Of the parts of CIFAR-10, the diffusion model.

    Yields:
        str: What it is about to do; a first table, of validation images; the tables, and what they say.

    Raises:
        UnusableInputError: When there is no such part, or it takes no data or teacher.
        JobError: When a run fails.
    """
    if part not in PARTS:
        raise UnusableInputError(f'There is no part {part!r}; the parts are {", ".join(PARTS)}.')
    domain, settings = PARTS[part].domain, PARTS[part].settings
    if not isinstance(settings, cifar10.Part) and (data or teacher):
        raise UnusableInputError(f'--data and --teacher are of the parts of cifar10; {part} brings its own.')
    yield PARTS[part].about + _slower()
    arguments = ['--images', data] if data else []
    script = ROOT / 'tools/prepare_data' / domain.DATA_SCRIPT
    if subprocess.run([sys.executable, script, *arguments]).returncode:
        raise UnusableInputError(f'{script.name} failed: see above.')
    if teacher:  # a folder is named from here, and the runs are started elsewhere
        settings = replace(settings, teacher=str(Path(teacher).resolve()) if Path(teacher).exists() else teacher)
    if study := getattr(domain, 'study', None):
        yield from study(settings)
        return
    comparisons = domain.plan(settings)

    def run(stage: Callable[[Comparison], Iterable[Job]]) -> None:
        run_jobs(in_order([job for comparison in comparisons for job in stage(comparison)]), runs_at_a_time())

    run(lambda comparison: comparison.tuning)
    yield report.preview(comparisons)
    run(lambda comparison: comparison.chosen)
    run(lambda comparison: comparison.tests.values())
    name = part.replace(' ', '_')
    yield report.write(comparisons, domain.WORK_DIR, name)
    if domain is cifar10:
        yield linear.write(comparisons[0], settings.teacher, domain.WORK_DIR, name)
    if comparisons[0].highlighted:
        yield f'Predictions: {pictures.compare(comparisons[0], domain.WORK_DIR / f"predictions_{name}.png")}'


def _slower() -> str:
    """That a part takes longer than it says, where it does."""
    instructions = torch.backends.cpu.get_cpu_capability()
    if torch.cuda.is_available() or 'AVX512' in instructions:
        return ''
    return f' That is with AVX-512; this processor has {instructions}: expect two to three times as long.'
