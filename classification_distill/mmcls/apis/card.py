"""The model card of a published student, and what its images must look like."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import torch

from ..configs import as_code, find_preprocessor, training_set, type_name
from .measured import describe_metrics, describe_quality
from .onnx_export import Exported
from .student import Student, student_channels
from .timm_folder import loading_arguments

# Where a backbone of the same name has the same tensors, ``init_cfg`` alone takes the student there.
SAME_TENSORS = {
    'ResNet': ('MMSegmentation', 'MMPose'),
    'HRNet': ('MMSegmentation', 'MMPose'),
    'MobileNetV2': ('MMPose',),
}


@dataclass
class Facts:
    """What of a published folder its card tells besides the student.

    Attributes:
        name: Name of the folder.
        image_size: Height and width in pixels of the images of the training.
        license: Of the student, as the Hugging Face hub names it.
        teacher_license: Of the teacher; None where it is not known.
        timm: What timm's model gives (``write_timm_config``); None where timm does not load the folder.
        onnx: What was exported; None where nothing was.
    """

    name: str
    image_size: int
    license: str
    teacher_license: str | None
    timm: str | None = None
    onnx: Exported | None = None


def find_license(teacher: Mapping) -> str | None:
    """Licence of a teacher by its own card, in its folder, or on the hub where that answers."""
    from huggingface_hub import ModelCard, model_info

    source = str(teacher.get('pretrained', ''))
    if not source:
        return None
    with suppress(Exception):  # no card, or none that can be read; no network, or no such model
        if Path(source).is_dir():
            return ModelCard.load(Path(source, 'README.md')).data.license
        return model_info(source, timeout=5).card_data.license
    return None


def write_card(folder: Path, student: Student, facts: Facts) -> None:
    """Write ``README.md`` beside the published files.

    Args:
        folder: Holds the published files.
        student: What was published.
        facts: What else is told.
    """
    files = sorted(folder.iterdir())
    snippets = '\n\n'.join(_snippets(student, facts, {path.suffix for path in files}))
    network = student.backbone_config.get('model_name', type(student.backbone).__name__)
    hashes = '\n'.join(f'| `{path.name}` | `{sha256(path.read_bytes()).hexdigest()}` |' for path in files)
    text = f"""---
{_front_matter(student, facts)}
---

# {facts.name}: {network}, distilled by {type_name(student.config['model'])}

The backbone of a student, alone: no neck, no head, no teacher.

| | |
|---|---|
{_rows(student, facts)}

{describe_quality(student)}{describe_metrics(student)}## Use

Paths are those from the folder that holds `{facts.name}`. `features (N, C)` are the averages of the last map.
{_compared(student)}

{snippets}

## Files

| file | sha256 |
|---|---|
{hashes}
"""
    (folder / 'README.md').write_text(text)


def _compared(student: Student) -> str:
    neck = student.config['model'].get('neck')
    if neck and type_name(neck) != 'TokenMaps':  # which has no weights
        return f"The training's loss saw what a neck, {type_name(neck)}, made of the maps; it is not published."
    return "A pooled loss compares these with the teacher's."


def _front_matter(student: Student, facts: Facts) -> str:
    """What the Hugging Face hub reads of a card."""
    from huggingface_hub import ModelCardData

    tags = ['repfusion', 'knowledge-distillation', 'diffusion', *(['onnx'] if facts.onnx else [])]
    library = 'timm' if facts.timm else 'mmpretrain'
    return str(
        ModelCardData(license=facts.license, library_name=library, pipeline_tag='image-feature-extraction', tags=tags)
    )


def _rows(student: Student, facts: Facts) -> str:
    model, dataset = student.config['model'], training_set(student.config)
    preprocessor = find_preprocessor(student.config)
    with torch.no_grad():
        maps = student.backbone(torch.zeros(1, 3, facts.image_size, facts.image_size))
    size = f'{facts.image_size}x{facts.image_size}'
    packages = ['torch', 'onedl-mmengine', 'onedl-mmpretrain', *(['timm'] if student.is_timm else [])]
    weights = 'an average over training (EMA)' if student.averaged else 'as trained'
    rows = {
        'backbone': f'`{as_code(student.backbone_config)}`',
        'parameters': f'{sum(p.numel() for p in student.backbone.parameters()):,}',
        'weights': f'{weights}, after {student.epoch} epochs, {student.iteration} iterations '
        f'(`{student.checkpoint.name}`)',
        'images': f'{size} pixels, {student_channels(dataset, preprocessor)}, values from 0 to 255',
        'normalisation': f'(image - mean) / std, mean `{preprocessor.get("mean")}`, std `{preprocessor.get("std")}`'
        if preprocessor.get('mean')
        else 'none',
        'feature maps (C, h, w)': ', '.join(str(tuple(each.shape[1:])) for each in maps),
        'data set': f'{type_name(dataset)}, `{dataset.get("data_root")}`',
        'teacher': f'`{as_code(model.get("teacher"))}`',
        "teacher's licence": facts.teacher_license or 'unknown: see where it is from',
        'distillation loss': f'`{as_code(model.get("distill_loss"))}`',
        'timestep policy': f'`{as_code(model["timestep_policy"])}`' if 'timestep_policy' in model else None,
        'versions': ', '.join(f'{package} {version(package)}' for package in packages),
    }
    return '\n'.join(f'| {name} | {value} |' for name, value in rows.items() if value)


def _snippets(student: Student, facts: Facts, suffixes: set[str]) -> list[str]:
    """How each library takes the student up."""
    name, snippets = facts.name, []
    if {'.pth', '.safetensors'} & suffixes:
        code = f"""from mmcls import load_student

student = load_student({name!r})
maps, features = student(images), student.features(images)"""
        snippets.append(_python('RepFusion, with RGB images (N, 3, H, W) in [0, 1]', code))
    if facts.timm:
        snippets.append(_python('timm, with normalised images (N, 3, H, W)', _timm_code(student, facts)))
    if '.pth' in suffixes:
        snippets += _openmmlab_snippets(student, f'{name}/student.pth')
    if '.safetensors' in suffixes:
        code = f"from safetensors.torch import load_file\n\nstate_dict = load_file('{name}/model.safetensors')"
        names = f'{"timm" if student.is_timm else "MMPretrain"}'
        snippets.append(_python(f'torch, by the names that the tensors have in {names}', code))
    if facts.onnx:
        snippets.append(_python(_onnx_title(facts), _onnx_code(name)))
    return snippets


def _onnx_title(facts: Facts) -> str:
    size = 'any size' if facts.onnx.any_size else f'{facts.image_size}x{facts.image_size} pixels, as the network wants'
    return f'ONNX Runtime, with float32 RGB images (N, 3, H, W) in [0, 1], any number, of {size}'


def _onnx_code(name: str) -> str:
    return f"""import onnxruntime

session = onnxruntime.InferenceSession('{name}/student.onnx')
*maps, features = session.run(None, {{'images': images}})"""


def _openmmlab_snippets(student: Student, file: str) -> list[str]:
    settings = student.backbone_config
    kind, init_cfg = type(student.backbone).__name__, {'type': 'Pretrained', 'checkpoint': file}
    ours = type(student.backbone).__module__.startswith('mmcls.')
    imports = "custom_imports = dict(imports=['mmcls'], allow_failed_imports=False)\n" if ours else ''

    def model(backbone: dict) -> str:
        return f'model = {as_code({"backbone": backbone})}'

    whole = settings | {'init_cfg': init_cfg}
    snippets = [_python('MMPretrain', imports + model(whole))]
    same = SAME_TENSORS.get(kind, ())
    if same:
        title = f'{" and ".join(same)}, whose {kind} has the same tensors'
        snippets.append(_python(title, model({'init_cfg': init_cfg})))
    if 'MMSegmentation' in same:
        snippets.append(_python("MMSegmentation's BiSeNetV1", model({'backbone_cfg': {'init_cfg': init_cfg}})))
    if others := [library for library in ('MMSegmentation', 'MMPose') if library not in same]:
        snippets.append(_python(' and '.join(others), imports + model(whole | {'type': f'mmpretrain.{kind}'})))
    return snippets


def _python(title: str, code: str) -> str:
    return f'{title}:\n\n```python\n{code}\n```'


def _timm_code(student: Student, facts: Facts) -> str:
    """How timm loads the student and gives its features and, where it takes more than a call, its maps."""
    given = ', '.join(f'{key}={value!r}' for key, value in loading_arguments(student, facts.name).items())
    result = {
        'average': 'features = model(images)',
        'map': 'features = model(images).mean((2, 3))',
        'maps': 'maps = model(images)\nfeatures = maps[-1].mean((2, 3))',
        'intermediates': '',
    }[facts.timm]
    code = f"""import timm

model = timm.create_model('local-dir:{facts.name}', {given}).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))  # of a PIL image
{result}"""
    if reading := getattr(student.backbone, 'reading', None):
        given = ', '.join(f'{key}={value!r}' for key, value in reading.items())
        code = f'{code.rstrip()}\nmaps = model.forward_intermediates(images, {given})'
    if facts.timm == 'intermediates':
        code += '\nfeatures = maps[-1].mean((2, 3))  # model(images) has a norm, or more, that was not distilled'
    return code
