"""Publish the backbone of a distilled student: safetensors, .pth, ONNX, the config and a model card, in a folder."""

import argparse
import json
import tempfile
from pathlib import Path

import mmcls  # noqa: F401
import onnx
import onnxruntime
import torch
from mmengine.registry import init_default_scope
from safetensors.torch import save
from student_card import find_image_size, write_card
from student_checkpoint import Student, read_student
from torch import Tensor
from tqdm import tqdm

FORMATS = ('safetensors', 'pth', 'onnx')
TOLERANCE = 1e-4


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', type=Path, help='.pth file that a distillation wrote')
    parser.add_argument('folder', type=Path, help='folder to write; it must not exist yet')
    parser.add_argument('--config', help="the distillation's config, by default the one that the checkpoint keeps")
    parser.add_argument('--formats', nargs='+', choices=FORMATS, default=FORMATS, help='by default all')
    parser.add_argument(
        '--image-size', type=int, help='side of the images in pixels, by default what the training pipeline gives'
    )
    return parser, parser.parse_args()


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
        raise ValueError(
            f'ONNX Runtime and torch differ by {difference:.2g}, expected at most {TOLERANCE}. Publish without ONNX: '
            '--formats safetensors pth.'
        )
    return difference


@torch.no_grad()
def publish(student: Student, folder: Path, formats: list[str], image_size: int) -> None:
    """Write the folder, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    images = torch.randn(3, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f'{folder.name}.') as temporary:
        unfinished = Path(temporary, folder.name)
        unfinished.mkdir()
        writers = {
            'safetensors': lambda: write_safetensors(student, unfinished / 'student.safetensors'),
            'pth': lambda: write_pth(student, unfinished / 'student.pth'),
            'onnx': lambda: write_onnx(student, images, unfinished / 'student.onnx'),  # minutes, if it is large
        }
        results = {}
        with tqdm([name for name in FORMATS if name in formats], unit='file', disable=None) as bar:
            for name in bar:
                bar.set_description(f'writing {name}')
                results[name] = writers[name]()
        if 'onnx' in results:
            print(f'ONNX Runtime and torch differ by {results["onnx"]:.2g} at most.')
        (unfinished / 'config.json').write_text(json.dumps(student.config, indent=1))
        write_card(unfinished, folder.name, student, image_size, student.backbone(images))
        unfinished.rename(folder)


def main() -> None:
    parser, args = parse_args()
    init_default_scope('mmpretrain')
    if args.folder.exists():
        parser.error(f'{args.folder} exists. Give the name of a new folder.')
    for path in (args.checkpoint, args.config):
        if path and not Path(path).is_file():
            parser.error(f'There is no file {str(path)!r} in {Path.cwd()}.')
    try:
        student = read_student(args.checkpoint, args.config)
        image_size = args.image_size or find_image_size(student.config)
        if image_size is None:
            raise ValueError('The training pipeline does not say how large its images are. Give --image-size.')
        publish(student, args.folder, args.formats, image_size)
    except ValueError as error:
        parser.error(str(error))
    weights = 'averaged (EMA) weights' if student.averaged else 'weights'
    print(
        f'{args.folder}: {type(student.backbone).__name__}, {len(student.backbone.state_dict())} tensors, {weights} of '
        f'epoch {student.epoch}, iteration {student.iteration}.'
    )


if __name__ == '__main__':
    main()
