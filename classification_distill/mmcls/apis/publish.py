"""Publish the backbone of a distilled student: safetensors, .pth, ONNX, the config and a model card, in a folder."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from ..configs import find_image_size
from ..errors import MissingFileError, UnusableInputError
from ..files import written_whole
from .card import write_card
from .student import Student, read_student

FORMATS = ('safetensors', 'pth', 'onnx')
TOLERANCE = 1e-4


def write_safetensors(student: Student, path: Path) -> None:
    """The weights under the names of the library that the network is from: for ``TIMMBackbone``, timm's."""
    module = student.backbone.timm_model if student.is_timm else student.backbone
    tensors = {key: value.contiguous() for key, value in module.state_dict().items()}
    path.write_bytes(save(tensors, {'format': 'pt'}))


def write_pth(student: Student, path: Path) -> None:
    """The weights as MMEngine's ``init_cfg`` loads them into the same backbone, without a prefix."""
    meta = {'backbone': student.backbone_config, 'epoch': student.epoch, 'iter': student.iteration}
    torch.save({'meta': meta, 'state_dict': student.backbone.state_dict()}, path)


def write_onnx(student: Student, images: Tensor, path: Path) -> float:
    """Export images to feature maps, for batches of any size, and check the file against torch.

    Args:
        student: The student.
        images: Normalised images ``(N, 3, H, W)``, N at least 2.
        path: File to write.

    Returns:
        float: The largest difference between ONNX Runtime and torch; of maps whose values exceed 1, relative to the
            largest.

    Raises:
        ValueError: When the difference exceeds 1e-4.
    """
    import onnx
    import onnxruntime

    names = [f'feature_{index}' for index in range(len(student.backbone(images)))]
    program = torch.onnx.export(
        student.backbone,
        (images,),
        input_names=['images'],
        output_names=names,
        dynamic_shapes=({0: torch.export.Dim('batch')},),
        dynamo=True,
        verbose=False,
    )
    # The exporter notes the traceback of every operation, with the folders of this machine.
    model = program.model_proto
    for part in (model.graph, *model.graph.node):
        part.ClearField('metadata_props')
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    difference = 0.0
    for batch in (images, images[:1]):
        for expected, found in zip(student.backbone(batch), session.run(None, {'images': batch.numpy()}), strict=True):
            scale = max(1.0, expected.abs().max().item())
            difference = max(difference, (expected - torch.from_numpy(found)).abs().max().item() / scale)
    if not difference <= TOLERANCE:
        raise UnusableInputError(
            f'ONNX Runtime and torch differ by {difference:.2g}, expected at most {TOLERANCE}. Publish without ONNX: '
            '--formats safetensors pth.'
        )
    return difference


def publish(
    checkpoint: str | Path,
    folder: str | Path,
    formats: Sequence[str] = FORMATS,
    image_size: int | None = None,
    config_file: str | None = None,
) -> str:
    """Write the backbone of a distilled student into a folder, whole or not at all.

    Args:
        checkpoint: What a distillation wrote.
        folder: Must not exist yet. It gets ``student.safetensors``, ``student.pth``, ``student.onnx``, ``config.json``
            and a model card.
        formats: Which of ``safetensors``, ``pth`` and ``onnx``.
        image_size: Side of the images in pixels; by default what the training pipeline gives.
        config_file: The distillation's config; by default the one that the checkpoint keeps.

    Returns:
        str: What was published, in a sentence.

    Raises:
        RepFusionError: When the folder exists, or the checkpoint is not there, damaged, or holds no student.

    Examples:
        >>> publish('work_dirs/digits-hint/ddpm-r18_hint/epoch_100.pth', 'student')
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
    write_folder(student, folder, formats, image_size)
    weights = 'averaged (EMA) weights' if student.averaged else 'weights'
    return (
        f'{folder}: {type(student.backbone).__name__}, {len(student.backbone.state_dict())} tensors, {weights} of '
        f'epoch {student.epoch}, iteration {student.iteration}.'
    )


@torch.no_grad()
def write_folder(student: Student, folder: Path, formats: Sequence[str], image_size: int) -> None:
    images = torch.randn(3, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with written_whole(folder) as partial:
        partial.mkdir()
        writers = {
            'safetensors': lambda: write_safetensors(student, partial / 'student.safetensors'),
            'pth': lambda: write_pth(student, partial / 'student.pth'),
            'onnx': lambda: write_onnx(student, images, partial / 'student.onnx'),  # minutes, if it is large
        }
        results = {}
        with tqdm([name for name in FORMATS if name in formats], unit='file', disable=None) as bar:
            for name in bar:
                bar.set_description(f'writing {name}')
                results[name] = writers[name]()
        if 'onnx' in results:
            print(f'ONNX Runtime and torch differ by {results["onnx"]:.2g} at most.')
        (partial / 'config.json').write_text(json.dumps(student.config, indent=1))
        write_card(partial, folder.name, student, image_size, student.backbone(images))
