"""From a distillation to a downstream model that starts from its student."""

import copy
import os
import tempfile
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope

from ..configs import loads_checkpoint, type_name, walk
from ..engine.preflight import check_data
from ..engine.pretrained import check_pretrained_weights
from ..errors import UnusableInputError
from ..weights import STUDENT_PREFIX, PretrainedWeightsError
from .steps import Step, Training, run_steps


def find_init_cfg(model: Mapping) -> str | None:
    """Where in a model's config the ``init_cfg`` is that loads by ``student.backbone.``."""
    for path, node in walk(model, 'model'):
        if isinstance(node, Mapping) and loads_checkpoint(node) and node.get('prefix') == STUDENT_PREFIX:
            return path
    return None


def wire(distillation: Training, downstream: Training) -> dict[str, str]:
    """The setting, as in ``--cfg-options``, by which the downstream model starts from the student.

    Raises:
        UnusableInputError: When the first config does not distil, or the second loads no student.
    """
    if not {'teacher', 'backbone'} <= distillation.config.model.keys():
        raise UnusableInputError(
            f'{distillation.path} does not distil: its {type_name(distillation.config.model)} has no teacher.'
        )
    field = find_init_cfg(downstream.config.model)
    if field is None:
        raise UnusableInputError(
            f'{downstream.path} loads no student. In its backbone a line like this is expected:\n'
            f"  init_cfg=dict(type='Pretrained', checkpoint='...', prefix='{STUDENT_PREFIX}')\n"
            'The configs that end in repfusion or repfussion have it.'
        )
    checkpoint = os.path.relpath(distillation.tree / distillation.checkpoint, downstream.tree)
    return {f'{field}.checkpoint': checkpoint}


def check(distillation: Training, downstream: Training, options: dict[str, str]) -> None:
    """Before hours of training: the data is there, and the student fits the downstream model.

    Raises:
        MissingDataError: When data is missing.
        UnusableInputError: When a tensor of the student's backbone is missing or has another shape.
    """
    for run, splits in ((distillation, ['train', 'val']), (downstream, ['train', 'val', 'test'])):
        with chdir(run.tree):
            if run is downstream or not run.finished:
                check_data(run.config, splits)
    config = copy.deepcopy(downstream.config)
    config.merge_from_dict(options)
    with tempfile.TemporaryDirectory() as folder:
        if not distillation.finished:  # a student as it starts has the same tensors
            init_default_scope('mmpretrain')
            student = MODELS.build(distillation.config.model.backbone)
            state_dict = {STUDENT_PREFIX + key: value for key, value in student.state_dict().items()}
            path = f'{folder}/untrained_student.pth'
            torch.save({'state_dict': state_dict}, path)
            config.merge_from_dict(dict.fromkeys(options, path))
        init_default_scope(config.default_scope)
        try:
            with chdir(downstream.tree):
                check_pretrained_weights(MODELS.build(config.model), config)
        except PretrainedWeightsError as error:
            raise UnusableInputError(f'{distillation.path} and {downstream.path} do not fit.\n{error}') from error


def plan(distillation: Training, downstream: Training, options: dict[str, str], gpus: int, amp: bool) -> list[Step]:
    """Distil, train, test."""
    folder = ['--work-dir', downstream.work_dir]
    settings = ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
    metrics = ['--out', f'{downstream.work_dir}/metrics.json']
    return [
        Step(distillation.tree, distillation.train_command(gpus, *['--amp'] * amp), distillation.finished),
        Step(downstream.tree, downstream.train_command(gpus, *folder, *settings), downstream.finished),
        Step(downstream.tree, downstream.test_command(gpus, *folder, *metrics)),
    ]


def _check_origin(distillation: Training, work_dir: Path) -> None:
    """What was trained downstream must be of this student, which a later distillation replaces."""
    begun = [path.stat().st_mtime for path in work_dir.glob('*.pth')]
    student = distillation.tree / distillation.checkpoint
    if begun and not (student.is_file() and student.stat().st_mtime <= min(begun)):
        raise UnusableInputError(
            f'{work_dir} holds a training that did not start from {student}, which is newer or still to be trained. '
            'Remove or rename that folder, and run the same command again.'
        )


def transfer(distill_config: str, downstream_config: str, gpus: int = 1, amp: bool = False) -> Path:
    """Distil, then train and test a downstream model from the student.

    What is finished is skipped, what was interrupted goes on.

    Args:
        distill_config: Config that distils.
        downstream_config: Config of any tree that loads a student.
        gpus: Number of GPUs; without GPUs, of processes.
        amp: Whether to distil in mixed precision, on GPUs.

    Returns:
        Path: The downstream work directory, ``work_dirs/transfer/<distillation>/<downstream config>`` of its tree, with
        ``metrics.json`` and ``commands.sh``.

    Raises:
        RepFusionError: When data is missing, the student does not fit, what was trained downstream is of an earlier
            student, or a command fails.

    Examples:
        >>> transfer('classification_distill/configs/demofaces-hint/ddpm-hrnet_hint.py',
        ...          'landmark/configs/demo_faces/hrnet_128x128_demofaces_repfusion.py')
    """
    distillation, downstream = Training.from_file(distill_config), Training.from_file(downstream_config)
    name = distillation.work_dir.removeprefix('work_dirs/')
    downstream.work_dir = f'work_dirs/transfer/{name}/{Path(downstream.path).stem}'
    options = wire(distillation, downstream)
    check(distillation, downstream, options)
    print('The data of both is there, and the student fits.')
    work_dir = downstream.tree / downstream.work_dir
    _check_origin(distillation, work_dir)
    run_steps(plan(distillation, downstream, options, gpus, amp), work_dir / 'commands.sh')
    print(f'{work_dir}: {downstream.checkpoint.rpartition("/")[2]}, metrics.json, commands.sh')
    return work_dir
