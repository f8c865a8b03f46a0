"""Distil a diffusion model into a student on a folder of images."""

import gc
import re
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from ..datasets.image_folder import load_classes
from ..engine import dry_run, prepare_config, train
from ..errors import UnusableInputError
from ..files import remove, write_text
from .folder_config import (
    CONFIG,
    DECODED,
    LOSSES,
    POLICIES,
    RECIPE,
    TREE,
    WORK_DIR,
    Settings,
    choose_held_side,
    config_text,
)
from .folder_images import IMAGES, FolderImages, list_images
from .publish import publish
from .recipe import choose_policy, fit_recipe
from .report import report
from .steps import Step, Training, run_steps
from .student_weights import write_starting_weights

STUDENT, REPORT = 'student', 'report.html'


def distill(
    images: str | Path,
    teacher: str | Path,
    student: str,
    out: str | Path,
    *,
    gpus: int = 1,
    epochs: int = 100,
    lr: float = 1e-3,
    seed: int = 0,
    subfolders_are_classes: bool = False,
    recipe: str | Path | None = None,
    policy: str | None = None,
    timestep: int | None = None,
    layers: list[str] | None = None,
    loss: str | None = None,
    variant: str | None = None,
    image_size: int | None = None,
    batch_size: int = 64,
    workers: int = 4,
    views: int | None = None,
    val: str | Path | None = None,
    student_weights: str | Path | None = None,
) -> Training:
    """Distil a diffusion model into a student on a folder of images. Labels are not needed.

    What is finished is skipped, what was interrupted goes on. With more epochs than before, it goes on for longer.

    Args:
        images: Folder of images, at any depth.
        teacher: What ``load_teacher`` takes.
        student: Name of a model of timm or MMPretrain.
        out: Folder of the results. It gets the config (``distill.py``), the training (``distillation``), the published
            student (``student``), the report (``report.html``) and the commands that made them (``commands.sh``).
        gpus: GPUs; without GPUs, processes.
        epochs: Length of the training.
        lr: Learning rate, of AdamW; it falls to zero by a cosine.
        seed: Of all that is drawn.
        subfolders_are_classes: Label images by subfolder.
        recipe: Config with the ``model.teacher.layers``, ``timestep_policy``, ``distill_loss`` and ``standardizer`` to
            distil by; by default that of ``configs/_base_/recipes`` where the teacher has its layers, else its averages
            at the teacher's own default layer.
        policy: Which timesteps are read: ``'fixed'``, ``'uniform'``, or ``'reinforce'``, rewarded by the classes where
            there are some, else by the agreement of views; by default the recipe's.
        timestep: The one of ``'fixed'``; by default the recipe's, 60 of 1,000.
        layers: The teacher's layers, one for each of the student's last maps, whose averages are compared; by default
            the recipe's.
        loss: How every layer is compared: ``'HintLoss'``, ``'ATLoss'``, ``'RKDLoss'`` or ``'InfoNCELoss'``; by default
            as the recipe says.
        variant: Of a guided-diffusion checkpoint whose name does not tell it.
        image_size: Side of the student's images in pixels; by default the teacher's.
        batch_size: Images of a process, or all where there are fewer.
        workers: Data workers of a process, of which a training starts one a core at most; none where all images fit
            into memory.
        views: Number of fixed views of each image that the student sees, of which the teacher's features are kept on
            disk, so that each is computed once; by default every view is drawn anew.
        val: Folder of some labelled images, a subfolder a class, on which the student is measured as it learns.
        student_weights: Trained weights to start from: a file of timm, MMPretrain or an earlier distillation, or the
            folder of a published student. By default the student starts as its library initialises it.

    Returns:
        Training: Its ``checkpoint`` is what ``load_student`` takes.

    Raises:
        RepFusionError: When images, teacher or student cannot be used, ``out`` is of another call, or a step fails.
        StoppedError: When the training was stopped by a signal or the keyboard.

    Examples:
        >>> run = distill('photos', 'google/ddpm-cifar10-32', 'resnet18', 'out', epochs=20)
        >>> student = load_student(run.checkpoint)
    """
    init_default_scope('mmpretrain')
    MMLogger.get_instance('distill_folder', log_level='WARNING')
    settings = Settings(
        folder=Path(images).resolve(),
        out=Path(out).resolve(),
        recipe=Path(recipe or RECIPE).resolve(),
        val=Path(val).resolve() if val else None,
        gpus=gpus,
        epochs=epochs,
        lr=lr,
        seed=seed,
        image_size=image_size,
        batch_size=batch_size,
        workers=workers,
        views=views,
    )
    _check(settings, policy, loss)
    found = _look_at_images(settings, subfolders_are_classes)
    model, num_timesteps, network = fit_recipe(settings, str(teacher), variant, layers, student)
    model['timestep_policy'] = choose_policy(model['timestep_policy'], policy, timestep, num_timesteps)
    if loss:
        model['distill_loss'] = [{'type': loss}] * len(model['teacher']['layers'])
    if student_weights:
        path = settings.out / 'student_weights.pth'
        begun = (settings.out / CONFIG).is_file()
        network.backbone['init_cfg'] = write_starting_weights(Path(student_weights), network.backbone, path, begun)
    settings.held_side = choose_held_side(settings, found)
    text = config_text(settings, model, network, found)
    run = _write_config(settings, text)
    _write_images(settings, found)
    run_steps(_plan(settings, run), settings.out / 'commands.sh')
    print(f'{settings.out}: student (see README.md in it), report.html, distill.py, commands.sh')
    return run


def _check(settings: Settings, policy: str | None, loss: str | None) -> None:
    for name, least in (('gpus', 1), ('epochs', 1), ('batch_size', 2), ('workers', 0), ('views', 1)):
        if (value := getattr(settings, name)) is not None and value < least:
            raise UnusableInputError(f'{name}={value}: at least {least} is needed.')
    for name, value, known in (('policy', policy, POLICIES), ('loss', loss, LOSSES)):
        if value is not None and value not in known:
            raise UnusableInputError(f'{name}={value!r}: expected one of {", ".join(known)}.')
    if settings.lr <= 0:
        raise UnusableInputError(f'lr={settings.lr}: a number above 0 is needed.')
    if settings.val:
        load_classes(settings.val, 8)
    if not settings.folder.is_dir():
        raise UnusableInputError(f'There is no folder {str(settings.folder)!r}.')
    if torch.cuda.is_available() and settings.gpus > torch.cuda.device_count():
        raise UnusableInputError(f'{settings.gpus} GPUs: this machine has {torch.cuda.device_count()}.')
    if settings.out == settings.folder:
        raise UnusableInputError('The results would go into the folder of the images. Give another one.')


def _look_at_images(settings: Settings, subfolders_are_classes: bool) -> FolderImages:
    """List the images, and fit the batch to their number."""
    settings.out.mkdir(parents=True, exist_ok=True)
    begun = any((settings.out / WORK_DIR).glob('*.pth'))
    images = list_images(settings.folder, settings.out, subfolders_are_classes, begun)
    print(f'{settings.folder}: {images.count:,} images, {len(images.classes) or "no"} classes', flush=True)
    print(*images.notes, sep='\n', end='\n' if images.notes else '', flush=True)
    most = images.count // settings.gpus
    settings.fitted_batch_size = min(settings.batch_size, most)
    if (path := settings.out / CONFIG).is_file():  # written when there may have been fewer images, or more
        settings.fitted_batch_size = min(most, Config.fromfile(path).train_dataloader.batch_size)
    if settings.fitted_batch_size < 2:
        raise UnusableInputError(
            f'{images.count} images are too few: at least {2 * settings.gpus} are needed, 2 for each process.'
        )
    return images


def _write_images(settings: Settings, found: FolderImages) -> None:
    """Write which images there are; without those that were decoded, where there were others before."""
    path = settings.out / IMAGES
    if path.is_file() and path.read_text() != found.annotations:
        remove(settings.out / DECODED)
    write_text(path, found.annotations)


def _write_config(settings: Settings, text: str) -> Training:
    """Write the config, or take the one of an interrupted call.

    Raises:
        UnusableInputError: When that call had other arguments.
    """
    path = settings.out / CONFIG
    if path.is_file():
        if _comparable(path.read_text()) != _comparable(text):
            raise UnusableInputError(
                f'{path} is not what these arguments give: it was written for others, or edited. Repeat the call as it '
                'was, or give another --out. An edited config is trained by: '
                f'bash tools/dist_train.sh {path} {settings.gpus}'
            )
        _go_on_for_longer(settings, Config.fromfile(path).train_cfg.max_epochs)
    write_text(path, text)
    return Training(TREE, str(path), Config.fromfile(path), str(settings.out / WORK_DIR))


def _go_on_for_longer(settings: Settings, epochs: int) -> None:
    """Take away what was made of a shorter training's end."""
    if settings.epochs < epochs:
        raise UnusableInputError(
            f'epochs={settings.epochs}: {settings.out / CONFIG} has {epochs}, which can only become more. Give another '
            '--out.'
        )
    if settings.epochs > epochs:
        for name in (STUDENT, REPORT):
            remove(settings.out / name)


def _comparable(text: str) -> str:
    """A config without what a later call may change: the epochs, and the batch size that the number of images gave."""
    return re.sub(r'(batch_size|max_epochs|T_max|interval)=\d+', '', text)


def _plan(settings: Settings, run: Training) -> list[Step]:
    """Check, distil, publish, report; in this process, but for a training that takes several."""
    begun = any(Path(run.work_dir).glob('*.pth'))
    student, page = settings.out / STUDENT, settings.out / REPORT

    def try_here() -> None:
        dry_run(prepare_config(run.path, {}))
        gc.collect()  # networks and runner hold each other
        torch.cuda.empty_cache()

    def train_here() -> None:
        train(prepare_config(run.path, {}, resume='auto'))

    return [
        Step(
            TREE,
            [sys.executable, 'tools/train.py', run.path, '--dry-run'],
            begun,
            try_here if settings.gpus == 1 else None,
        ),
        Step(
            TREE,
            run.train_command(settings.gpus),
            run.finished,
            train_here if settings.gpus == 1 else None,
        ),
        Step(
            TREE,
            [sys.executable, 'tools/publish_student.py', run.checkpoint, str(student)],
            student.is_dir(),
            lambda: print(publish(run.checkpoint, student)),
        ),
        Step(
            TREE,
            [sys.executable, 'tools/report.py', run.work_dir, '--out', str(page)],
            page.is_file(),
            lambda: print(report([run.work_dir], page)),
        ),
    ]
