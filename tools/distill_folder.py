"""Distil a diffusion model into a student on a folder of images.

python tools/distill_folder.py <FOLDER> --teacher <HUB ID, FOLDER OR CHECKPOINT> --student <MODEL> --out <DIR>

Labels are not needed. DIR gets the config (distill.py), the training (distillation), the published student (student),
the report (report.html) and the commands that made them (commands.sh). What is finished is skipped, what was
interrupted goes on.
"""

import argparse
import sys
from pathlib import Path

import torch
from folder_config import (
    CONFIG,
    TREE,
    WORK_DIR,
    Network,
    check_student,
    config_text,
    describe_student,
    describe_teacher,
)
from folder_images import UNREADABLE, FolderImages, list_images, replace
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from steps import Run, Step, run_steps

ROOT = TREE.parent


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('folder', type=Path, help='folder of images, at any depth')
    add('--teacher', required=True, help='hub id, folder of a diffusers pipeline, or guided-diffusion checkpoint')
    add('--student', required=True, help='name of a model of timm or MMPretrain: resnet50, resnet50_8xb32_in1k')
    add('--out', required=True, type=Path, help='folder of the results')
    add('--gpus', type=int, default=1, help='GPUs; without GPUs, processes (%(default)s)')
    add('--epochs', type=int, default=100, help='(%(default)s)')
    add('--subfolders-are-classes', action='store_true', help='label images by subfolder (no labels)')
    add('--policy', choices=('uniform', 'reinforce'), help='which timesteps (reinforce with classes, else uniform)')
    add('--layers', nargs='+', help="the teacher's layers, one for each of the student's last maps (its middle)")
    add('--variant', help='of a guided-diffusion checkpoint (by its name): 64, 128, 256, 256-uncond, 512, FILE.json')
    add('--image-size', type=int, metavar='PX', help="side of the student's images (the teacher's size)")
    add('--batch-size', type=int, default=64, help='images of a process, or all where there are fewer (%(default)s)')
    add('--workers', type=int, default=4, help='data workers of a process (%(default)s)')
    args = parser.parse_args()
    for name, least in (('gpus', 1), ('epochs', 1), ('batch_size', 2), ('workers', 0)):
        if getattr(args, name) < least:
            parser.error(f'--{name.replace("_", "-")} {getattr(args, name)}: at least {least} is needed.')
    if not args.folder.is_dir():
        parser.error(f'there is no folder {str(args.folder)!r} in {Path.cwd()}.')
    if torch.cuda.is_available() and args.gpus > torch.cuda.device_count():
        parser.error(f'--gpus {args.gpus}: this machine has {torch.cuda.device_count()}.')
    args.folder, args.out = args.folder.resolve(), args.out.resolve()
    if args.out == args.folder:
        parser.error('--out is the folder of the images. Give another one.')
    args.policy = args.policy or ('reinforce' if args.subfolders_are_classes else 'uniform')
    return args


def prepare(args: argparse.Namespace) -> tuple[dict, Network, FolderImages]:
    """Look at images, teacher and student, and complete ``args`` by what they say.

    Raises:
        SystemExit: When one of them cannot be used.
    """
    args.out.mkdir(parents=True, exist_ok=True)
    images = list_images(args.folder, args.out, args.subfolders_are_classes)
    print(f'{args.folder}: {images.count:,} images, {len(images.classes) or "no"} classes', flush=True)
    if images.unreadable:
        shown = [f'\n  {name}: {why}' for name, why in list(images.unreadable.items())[:5]]
        left_out = f'{len(images.unreadable):,} cannot be read and are left out ({args.out / UNREADABLE})'
        print(f'{left_out}:{"".join(shown)}', flush=True)
    args.batch_size = min(args.batch_size, images.count // args.gpus)
    if args.batch_size < 2:
        raise SystemExit(f'{images.count} images are too few: at least {2 * args.gpus} are needed, 2 for each process.')
    try:
        settings = describe_teacher(args.teacher, args.variant, args.layers)
        teacher = MODELS.build(settings)
        args.image_size = args.image_size or teacher.sample_size[0]
        student = describe_student(args.student, len(teacher.layers))
        check_student(args.student, student, len(teacher.layers), {teacher.sample_size[0], args.image_size})
    except (OSError, ValueError) as error:
        raise SystemExit(f'{error}') from error
    layers = ', '.join(f'{name} ({c} channels, stride {s})' for name, (c, s) in teacher.feature_info.items())
    print(f'{args.teacher}: {settings["type"]}, {teacher.sample_size[0]} px, layers {layers}', flush=True)
    return settings | {'layers': list(teacher.layers)}, student, images


def write_config(args: argparse.Namespace, text: str) -> Run:
    """Write the config, or take the one of an interrupted call.

    Raises:
        SystemExit: When that call had other arguments.
    """
    path = args.out / CONFIG
    if path.is_file() and path.read_text() != text:
        raise SystemExit(
            f'{path} is not what these arguments give: it was written for others, or edited. Repeat the call as it '
            f'was, or give another --out. An edited config is trained by: bash tools/dist_train.sh {path} {args.gpus}'
        )
    replace(path, text)
    return Run(TREE, str(path), Config.fromfile(path), str(args.out / WORK_DIR))


def plan(args: argparse.Namespace, run: Run) -> list[Step]:
    """Check, distil, publish, report."""
    begun = any(Path(run.work_dir).glob('*.pth'))
    student, report = args.out / 'student', args.out / 'report.html'
    return [
        Step(TREE, [sys.executable, 'tools/train.py', run.path, '--dry-run'], begun),
        Step(TREE, run.train_command(args.gpus), run.finished),
        Step(TREE, [sys.executable, 'tools/publish_student.py', run.checkpoint, str(student)], student.is_dir()),
        Step(TREE, [sys.executable, 'tools/report.py', run.work_dir, '--out', str(report)], report.is_file()),
    ]


def main() -> None:
    args = parse_args()
    init_default_scope('mmpretrain')
    MMLogger.get_instance('distill_folder', log_level='WARNING')
    run = write_config(args, config_text(args, *prepare(args)))
    run_steps(plan(args, run), args.out / 'commands.sh')
    print(f'{args.out}: student (see README.md in it), report.html, distill.py, commands.sh')


if __name__ == '__main__':
    main()
