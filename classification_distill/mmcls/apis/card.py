"""The model card of a published student, and what its images must look like."""

import json
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from ..configs import as_code, training_set, type_name
from .student import Student, student_channels

# Where a backbone of the same name has the same tensors, ``init_cfg`` alone takes the student there.
SAME_TENSORS = {
    'ResNet': ('MMSegmentation', 'MMPose'),
    'HRNet': ('MMSegmentation', 'MMPose'),
    'MobileNetV2': ('MMPose',),
}
NO_METRICS = ('lr', 'base_lr', 'data_time', 'time', 'memory', 'epoch', 'iter', 'step')


def write_card(folder: Path, name: str, student: Student, image_size: int, features: tuple[Tensor, ...]) -> None:
    """Write ``README.md`` beside the published files.

    Args:
        folder: Holds the published files.
        name: Name that the folder is going to have.
        student: What was published.
        image_size: Height and width of its images in pixels.
        features: Its feature maps of images of that size.
    """
    files = sorted(folder.iterdir())
    snippets = '\n\n'.join(_snippets(student, name, {path.suffix for path in files}))
    network = student.backbone_config.get('model_name', type(student.backbone).__name__)
    hashes = '\n'.join(f'| `{path.name}` | `{sha256(path.read_bytes()).hexdigest()}` |' for path in files)
    text = f"""# {name}: {network}, distilled by {type_name(student.config['model'])}

The backbone of a student, alone: no neck, no head, no teacher.

| | |
|---|---|
{_rows(student, image_size, features)}

{_metrics(student)}## Use

Paths are those from the folder that holds `{name}`.

{snippets}

## Files

| file | sha256 |
|---|---|
{hashes}
"""
    (folder / 'README.md').write_text(text)


def _rows(student: Student, image_size: int, features: tuple[Tensor, ...]) -> str:
    model, dataset = student.config['model'], training_set(student.config)
    preprocessor = model.get('data_preprocessor') or student.config.get('data_preprocessor') or {}
    packages = ['torch', 'onedl-mmengine', 'onedl-mmpretrain', *(['timm'] if student.is_timm else [])]
    weights = 'an average over training (EMA)' if student.averaged else 'as trained'
    rows = {
        'backbone': f'`{as_code(student.backbone_config)}`',
        'parameters': f'{sum(p.numel() for p in student.backbone.parameters()):,}',
        'weights': f'{weights}, after {student.epoch} epochs, {student.iteration} iterations '
        f'(`{student.checkpoint.name}`)',
        'images': f'{image_size}x{image_size} pixels, {student_channels(dataset, preprocessor)}, values from 0 to 255',
        'normalisation': f'(image - mean) / std, mean `{preprocessor.get("mean")}`, std `{preprocessor.get("std")}`'
        if preprocessor.get('mean')
        else 'none',
        'feature maps (C, h, w)': ', '.join(str(tuple(feature.shape[1:])) for feature in features),
        'data set': f'{type_name(dataset)}, `{dataset.get("data_root")}`',
        'teacher': f'`{as_code(model.get("teacher"))}`',
        'distillation loss': f'`{as_code(model.get("distill_loss"))}`',
        'timestep policy': f'`{as_code(model["timestep_policy"])}`' if 'timestep_policy' in model else None,
        'versions': ', '.join(f'{package} {version(package)}' for package in packages),
    }
    return '\n'.join(f'| {name} | {value} |' for name, value in rows.items() if value)


def _metrics(student: Student) -> str:
    """The last values logged up to the checkpoint, where ``scalars.json`` lies beside it."""
    latest = {}
    for log in sorted(student.checkpoint.parent.glob('*/vis_data/scalars.json')):
        for row in map(json.loads, log.read_text().splitlines()):
            if row.get('iter', 0) > student.iteration:
                break
            latest |= {key: value for key, value in row.items() if key not in NO_METRICS}
    if not latest:
        return ''
    note = ''
    if type_name(student.config['model']) == 'RepFusion':
        note = "\nMetrics of validation are those of the task head on the teacher's features, not the student's.\n"
    rows = [f'| {key} | {value:.4g} |' for key, value in latest.items() if isinstance(value, int | float)]
    return '\n'.join(['## Last metrics', note, '| | |', '|---|---|', *rows, '', ''])


def _snippets(student: Student, name: str, suffixes: set[str]) -> list[str]:
    """How each library takes the student up."""
    snippets = []
    if '.pth' in suffixes:
        snippets += _openmmlab_snippets(student, f'{name}/student.pth')
    if '.safetensors' in suffixes:
        file = f'{name}/student.safetensors'
        if student.is_timm:
            title = (
                "timm, whose names `student.safetensors` has; `student.pth` has those of MMPretrain's `TIMMBackbone`, "
                'with `timm_model.` before them'
            )
            snippets.append(_python(title, f'import timm\n\n{_timm_code(student, file)}'))
        snippets.append(
            _python('torch', f'from safetensors.torch import load_file\n\nstate_dict = load_file({file!r})')
        )
    if '.onnx' in suffixes:
        code = f"""import onnxruntime

session = onnxruntime.InferenceSession('{name}/student.onnx')
features = session.run(None, {{'images': images}})"""
        snippets.append(_python('ONNX Runtime, with normalised float32 images (N, 3, H, W) of the size above', code))
    return snippets


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


def _timm_code(student: Student, file: str) -> str:
    """How timm builds the student and loads it and, where it takes more than a call, gives its maps."""
    settings, others = student.backbone_config, ('type', 'model_name', 'in_channels', 'maps')
    arguments = {key: value for key, value in settings.items() if key not in others}
    if not arguments.get('features_only'):
        arguments['num_classes'] = 0
    arguments['checkpoint_path'] = file
    given = ', '.join(f'{key}={as_code(value)}' for key, value in arguments.items())
    code = f'model = timm.create_model({settings["model_name"]!r}, {given})'
    if reading := getattr(student.backbone, 'reading', None):
        given = ', '.join(f'{key}={value!r}' for key, value in reading.items())
        code += f'.eval()\nmaps = model.forward_intermediates(images, {given})  # of normalised images (N, 3, H, W)'
    return code
