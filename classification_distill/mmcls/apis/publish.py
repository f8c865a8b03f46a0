"""Publish the backbone of a distilled student: safetensors, .pth, ONNX, configs and a model card, in a folder."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..configs import find_image_size, find_preprocessor
from ..errors import MissingFileError, UnusableInputError
from ..files import written_whole
from ..progress import ProgressBar
from .card import Facts, find_license, write_card
from .onnx_export import Exported, ExportError, write_onnx
from .student import (
    PUBLISHED_SIZE,
    TRAINING,
    WEIGHTS,
    NormalizedStudent,
    Student,
    average,
    normalized,
    read_student,
)
from .timm_folder import write_timm_config

FORMATS = ('safetensors', 'pth', 'onnx')


def write_safetensors(student: Student, path: Path) -> None:
    """The weights under the names of the library that the network is from: for ``TIMMBackbone``, timm's."""
    module = student.backbone.timm_model if student.is_timm else student.backbone
    tensors = {key: value.contiguous() for key, value in module.state_dict().items()}
    path.write_bytes(save(tensors, {'format': 'pt'}))


def write_pth(student: Student, path: Path) -> None:
    """The weights as MMEngine's ``init_cfg`` loads them into the same backbone, without a prefix."""
    meta = {'backbone': student.backbone_config, 'epoch': student.epoch, 'iter': student.iteration}
    torch.save({'meta': meta, 'state_dict': student.backbone.state_dict()}, path)


class WithAverage(nn.Module):
    """A student that gives its maps and, last, the averages of the last one."""

    def __init__(self, student: NormalizedStudent):
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self.student(images)
        return *maps, average(maps[-1])


def publish(
    checkpoint: str | Path,
    folder: str | Path,
    formats: Sequence[str] | None = None,
    image_size: int | None = None,
    config_file: str | None = None,
    license: str = 'unknown',
) -> str:
    """Write the backbone of a distilled student into a folder, whole or not at all.

    Args:
        checkpoint: What a distillation wrote.
        folder: Must not exist yet. It gets ``model.safetensors``, ``student.pth``, ``student.onnx``, the training's
            config (``training.json``), timm's (``config.json``) where the student is one of its networks, and a card.
        formats: Which of ``safetensors``, ``pth`` and ``onnx``; by default all, but ONNX where it does not hold the
            network.
        image_size: Side of the images in pixels; by default what the training pipeline gives.
        config_file: The distillation's config; by default the one that the checkpoint keeps.
        license: Of the student, as the Hugging Face hub names it: ``'apache-2.0'``.

    Returns:
        str: What was published, in a sentence.

    Raises:
        RepFusionError: When the folder exists, the checkpoint is not there, damaged, or holds no student, or ONNX is
            asked for and does not hold it.

    Examples:
        >>> publish('work_dirs/ddpm-r18_hint/epoch_100.pth', 'student')
        'student: ResNet_CIFAR, 120 tensors, weights of epoch 100, iteration 1500.'
    """
    checkpoint, folder = Path(checkpoint), Path(folder)
    if folder.exists():
        raise UnusableInputError(f'{folder} exists. Give the name of a new folder.')
    for path in (checkpoint, config_file):
        if path and not Path(path).is_file():
            raise MissingFileError(f'There is no file {str(path)!r} in {Path.cwd()}.')
    student = read_student(checkpoint, config_file)
    image_size = image_size or find_image_size(student.config)
    if image_size is None:
        raise UnusableInputError('The training pipeline does not say how large its images are. Give --image-size.')
    facts = Facts(folder.name, image_size, license, find_license(student.config['model'].get('teacher', {})))
    config = without_folders(student.config) | {PUBLISHED_SIZE: image_size}
    write_folder(replace(student, config=config), folder, formats, facts)
    weights = 'averaged (EMA) weights' if student.averaged else 'weights'
    return (
        f'{folder}: {type(student.backbone).__name__}, {len(student.backbone.state_dict())} tensors, {weights} of '
        f'epoch {student.epoch}, iteration {student.iteration}.'
    )


@torch.no_grad()
def write_folder(student: Student, folder: Path, formats: Sequence[str] | None, facts: Facts) -> None:
    network, preprocessor = normalized(student.backbone, student.config), find_preprocessor(student.config)
    told = ''
    with written_whole(folder) as partial:
        partial.mkdir()
        (partial / TRAINING).write_text(json.dumps(student.config, indent=1))
        with ProgressBar([name for name in FORMATS if formats is None or name in formats], unit='file') as bar:
            for name in bar:
                bar.set_description(f'writing {name}')
                if name == 'safetensors':
                    write_safetensors(student, partial / WEIGHTS)
                    if student.is_timm and not network.is_bgr:
                        facts.timm = write_timm_config(student, partial, preprocessor, facts.image_size)
                elif name == 'pth':
                    write_pth(student, partial / 'student.pth')
                else:  # minutes, if it is large
                    try:
                        facts.onnx = write_student_onnx(network, facts.image_size, partial / 'student.onnx')
                    except ExportError as error:
                        if formats is not None:
                            raise ExportError(f'{error} Publish without ONNX: --formats safetensors pth.') from error
                        told = f'Published without ONNX: {error}'
                    else:
                        told = f'ONNX Runtime and torch differ by {facts.onnx.difference:.2g} at most.'
        if told:
            print(told)
        write_card(partial, student, facts)


def write_student_onnx(network: NormalizedStudent, image_size: int, path: Path) -> Exported:
    """The maps ``map_0``, ... and ``features``, the averages of the last."""
    count = len(network(torch.zeros(1, 3, image_size, image_size)))
    names = [*(f'map_{i}' for i in range(count)), 'features']
    return write_onnx(WithAverage(network).eval(), image_size, names, path)


def without_folders(node):
    """A config whose absolute paths, which are of this machine, are names."""
    if isinstance(node, dict):
        return {key: without_folders(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(map(without_folders, node))
    return Path(node).name if isinstance(node, str) and Path(node).is_absolute() else node
