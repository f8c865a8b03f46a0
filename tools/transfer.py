"""Distil, then train and test a downstream model from the student.

bash tools/transfer.sh <DISTILL CONFIG> <DOWNSTREAM CONFIG> <GPUS> [--amp]

What is finished is skipped, what was interrupted goes on. The commands that ran are in ``commands.sh`` of the work
directory, which is ``work_dirs/transfer/<distillation>/<downstream config>`` of the downstream config's tree.
"""

import argparse
import copy
import os
import tempfile
from pathlib import Path

import torch
from mmcls.configs import loads_checkpoint, type_name
from mmcls.engine.data_check import check_data
from mmcls.engine.launch import refuse_code_in_checkpoints
from mmcls.engine.pretrained import PretrainedWeightsError, check_pretrained_weights
from mmengine.registry import MODELS, init_default_scope
from steps import Run, Step, run_steps

PREFIX = 'student.backbone.'


def find_init_cfg(node, path: str = 'model') -> str | None:
    """Where in a model's config the ``init_cfg`` is that loads by ``student.backbone.``."""
    if not isinstance(node, dict):
        return None
    if loads_checkpoint(node) and node.get('prefix') == PREFIX:
        return path
    return next(filter(None, (find_init_cfg(value, f'{path}.{key}') for key, value in node.items())), None)


def wire(distillation: Run, downstream: Run) -> dict[str, str]:
    """The setting, as in ``--cfg-options``, by which the downstream model starts from the student.

    Raises:
        SystemExit: When the first config does not distil, or the second loads no student.
    """
    if not {'teacher', 'backbone'} <= distillation.config.model.keys():
        raise SystemExit(
            f'{distillation.path} does not distil: its {type_name(distillation.config.model)} has no teacher.'
        )
    field = find_init_cfg(downstream.config.model)
    if field is None:
        raise SystemExit(
            f'{downstream.path} loads no student. In its backbone a line like this is expected:\n'
            f"  init_cfg=dict(type='Pretrained', checkpoint='...', prefix='{PREFIX}')\n"
            'The configs that end in repfusion or repfussion have it.'
        )
    checkpoint = os.path.relpath(distillation.tree / distillation.checkpoint, downstream.tree)
    return {f'{field}.checkpoint': checkpoint}


def check(distillation: Run, downstream: Run, options: dict[str, str]) -> None:
    """Before hours of training: the data is there, and the student fits the downstream model.

    Raises:
        MissingDataError: When data is missing.
        SystemExit: When a tensor of the student's backbone is missing or has another shape.
    """
    for run, splits in ((distillation, ['train', 'val']), (downstream, ['train', 'val', 'test'])):
        os.chdir(run.tree)
        if run is downstream or not run.finished:
            check_data(run.config, splits)
    config = copy.deepcopy(downstream.config)
    config.merge_from_dict(options)
    with tempfile.TemporaryDirectory() as folder:
        if not distillation.finished:  # a student as it starts has the same tensors
            init_default_scope('mmpretrain')
            student = MODELS.build(distillation.config.model.backbone)
            state_dict = {PREFIX + key: value for key, value in student.state_dict().items()}
            path = f'{folder}/untrained_student.pth'
            torch.save({'state_dict': state_dict}, path)
            config.merge_from_dict(dict.fromkeys(options, path))
        init_default_scope(config.default_scope)
        try:
            check_pretrained_weights(MODELS.build(config.model), config)
        except PretrainedWeightsError as error:
            raise SystemExit(f'{distillation.path} and {downstream.path} do not fit.\n{error}') from error


def transfer(distillation: Run, downstream: Run, options: dict[str, str], gpus: int, amp: bool = False) -> None:
    """Run what is not finished, the distillation with ``amp`` in mixed precision, and test."""
    folder = ['--work-dir', downstream.work_dir]
    settings = ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
    metrics = ['--out', f'{downstream.work_dir}/metrics.json']
    steps = [
        Step(distillation.tree, distillation.train_command(gpus, *['--amp'] * amp), distillation.finished),
        Step(downstream.tree, downstream.train_command(gpus, *folder, *settings), downstream.finished),
        Step(downstream.tree, downstream.test_command(gpus, *folder, *metrics)),
    ]
    work_dir = downstream.tree / downstream.work_dir
    run_steps(steps, work_dir / 'commands.sh')
    print(f'{work_dir}: {downstream.checkpoint.rpartition("/")[2]}, metrics.json, commands.sh')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='bash tools/transfer.sh', description=__doc__.splitlines()[0])
    parser.add_argument('distill_config', help='config that distils, such as configs/celebahq-hint/ddpm-r18_hint.py')
    parser.add_argument('downstream_config', help='config of any tree that loads a student')
    parser.add_argument('gpus', type=int, help='number of GPUs; without GPUs, of processes')
    parser.add_argument('--amp', action='store_true', help='distil in mixed precision, on GPUs')
    args = parser.parse_args()
    if args.gpus < 1:
        parser.error(f'{args.gpus} GPUs: at least 1 is needed; without GPUs it is the number of processes.')
    return args


def main() -> None:
    args = parse_args()
    refuse_code_in_checkpoints()
    distillation, downstream = Run.from_file(args.distill_config), Run.from_file(args.downstream_config)
    name = distillation.work_dir.removeprefix('work_dirs/')
    downstream.work_dir = f'work_dirs/transfer/{name}/{Path(downstream.path).stem}'
    options = wire(distillation, downstream)
    check(distillation, downstream, options)
    print('The data of both is there, and the student fits.')
    transfer(distillation, downstream, options, args.gpus, args.amp)


if __name__ == '__main__':
    main()
