"""Distil, then train and test a downstream model from the student.

bash tools/transfer.sh <DISTILL CONFIG> <DOWNSTREAM CONFIG> <GPUS>

What is finished is skipped, what was interrupted goes on. The commands that ran are in ``commands.sh`` of the work
directory, which is ``work_dirs/transfer/<distillation>/<downstream config>`` of the downstream config's tree.
"""

import argparse
import copy
import os
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from mmcls.engine.data_check import check_data
from mmcls.engine.launch import refuse_code_in_checkpoints
from mmcls.engine.pretrained import PretrainedWeightsError, check_pretrained_weights
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

PREFIX = 'student.backbone.'


@dataclass
class Run:
    """A config of a tree and where its training ends.

    Attributes:
        tree: Folder that commands run in: the one that holds ``configs``.
        path: Config file, relative to ``tree``.
        config: The loaded config.
        work_dir: Work directory, relative to ``tree``.
    """

    tree: Path
    path: str
    config: Config
    work_dir: str

    @classmethod
    def from_file(cls, path: str) -> 'Run':
        tree, configs, name = os.path.abspath(path).rpartition('/configs/')
        if not configs or not os.path.isfile(path):
            raise SystemExit(f'There is no config {path!r} in {Path.cwd()}; it must lie in the configs of a tree.')
        config = Config.fromfile(path)
        work_dir = config.get('work_dir') or f'work_dirs/{Path(name).stem}'
        return cls(Path(tree), f'configs/{name}', config, work_dir)

    @property
    def checkpoint(self) -> str:
        """What a finished training leaves, relative to ``tree``."""
        train_cfg = self.config.train_cfg
        last = f'epoch_{train_cfg.max_epochs}' if 'max_epochs' in train_cfg else f'iter_{train_cfg.max_iters}'
        return f'{self.work_dir}/{last}.pth'

    @property
    def finished(self) -> bool:
        return (self.tree / self.checkpoint).is_file()

    def train_command(self, gpus: int, *arguments: str) -> list[str]:
        return ['bash', 'tools/dist_train.sh', self.path, str(gpus), '--resume', *arguments]

    def test_command(self, gpus: int, *arguments: str) -> list[str]:
        return ['bash', 'tools/dist_test.sh', self.path, self.checkpoint, str(gpus), *arguments]


def find_init_cfg(node, path: str = 'model') -> str | None:
    """Where in a model's config the ``init_cfg`` is that loads by ``student.backbone.``."""
    if not isinstance(node, dict):
        return None
    if node.get('type') == 'Pretrained' and node.get('prefix') == PREFIX:
        return path
    return next(filter(None, (find_init_cfg(value, f'{path}.{key}') for key, value in node.items())), None)


def wire(distillation: Run, downstream: Run) -> dict[str, str]:
    """The setting, as in ``--cfg-options``, by which the downstream model starts from the student.

    Raises:
        SystemExit: When the first config does not distil, or the second loads no student.
    """
    if not {'teacher', 'backbone'} <= distillation.config.model.keys():
        raise SystemExit(f'{distillation.path} does not distil: its {distillation.config.model.type} has no teacher.')
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


def transfer(distillation: Run, downstream: Run, options: dict[str, str], gpus: int) -> None:
    """Run what is not finished, and test."""
    folder = ['--work-dir', downstream.work_dir]
    settings = ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
    steps = [
        (distillation, distillation.finished, distillation.train_command(gpus)),
        (downstream, downstream.finished, downstream.train_command(gpus, *folder, *settings)),
        (downstream, False, downstream.test_command(gpus, *folder, '--out', f'{downstream.work_dir}/metrics.json')),
    ]
    lines = ['set -e  # commented out: was finished before']
    for run, finished, command in steps:
        lines.append(f'{"# " if finished else ""}(cd {shlex.quote(str(run.tree))} && {shlex.join(command)})')
    work_dir = downstream.tree / downstream.work_dir
    work_dir.mkdir(parents=True, exist_ok=True)
    (work_dir / 'commands.sh').write_text('\n'.join([*lines, '']))
    for (run, finished, command), line in zip(steps, lines[1:], strict=True):
        print(line, flush=True)
        if not finished and (code := subprocess.run(command, cwd=run.tree).returncode):
            raise SystemExit(f'Failed with exit code {code}: {line}\nOnce mended, the same call goes on there.')
    print(f'{work_dir}: {downstream.checkpoint.rpartition("/")[2]}, metrics.json, commands.sh')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='bash tools/transfer.sh', description=__doc__.splitlines()[0])
    parser.add_argument('distill_config', help='config that distils, such as configs/celebahq-hint/ddpm-r18_hint.py')
    parser.add_argument('downstream_config', help='config of any tree that loads a student')
    parser.add_argument('gpus', type=int, help='number of GPUs; without GPUs, of processes')
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
    transfer(distillation, downstream, options, args.gpus)


if __name__ == '__main__':
    main()
