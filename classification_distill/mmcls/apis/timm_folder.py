"""The folder of a published student as timm's ``local-dir:`` reads it."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from ..configs import training_set
from ..models.backbones import TIMMFeatureMaps
from .student import WEIGHTS, Student, average, trial_images

CONFIG = 'config.json'
# What timm's model may be told, so that it gives the student's own features; the first that does is taken. Its own
# pooling; that of a vision transformer's tokens, after the norm and without a class token; that of a network whose own
# is another; and the map itself, since after its pooling ConvNeXt has a norm and MobileNetV3 a convolution.
POOLINGS = ({}, {'global_pool': 'avg', 'fc_norm': False}, {'global_pool': 'avg'}, {'global_pool': ''})
TOLERANCE = 1e-5
NOT_TIMMS = ('type', 'model_name', 'in_channels', 'maps')


@torch.no_grad()
def write_timm_config(student: Student, folder: Path, preprocessor: Mapping, image_size: int) -> str | None:
    """Write ``config.json`` beside the weights, such that timm's model gives what was distilled.

    Args:
        student: A student that is a network of timm.
        folder: Holds ``model.safetensors``.
        preprocessor: Config of its images' normalisation.
        image_size: Their side in pixels.

    Returns:
        str: What the model gives: ``'average'`` of the last map, the ``'map'``, or all ``'maps'``; by itself
            something else, but these as ``'intermediates'``; None where it gives none, and then there is no file.
    """
    images = trial_images(student.backbone, image_size)
    expected = student.backbone(images)
    described = _describe(student, preprocessor, image_size) | {'num_features': expected[-1].shape[1]}
    settings = {key: value for key, value in student.backbone_config.items() if key not in NOT_TIMMS}
    for pooling in [{}] if settings.get('features_only') else POOLINGS:
        _write(folder, described | pooling | {'model_args': settings | pooling})
        with suppress(Exception):  # of any kind, of networks that do not know the argument
            if kind := _compare(_load(student, folder)(images), expected):
                return kind
    if isinstance(student.backbone, TIMMFeatureMaps):
        _write(folder, described | {'model_args': settings})
        with suppress(Exception):  # as above
            found = _load(student, folder).forward_intermediates(images, **student.backbone.reading)
            if _are_same(found, list(expected)):
                return 'intermediates'
    (folder / CONFIG).unlink()
    return None


def _load(student: Student, folder: Path) -> nn.Module:
    import timm

    return timm.create_model(f'local-dir:{folder}', **loading_arguments(student, folder)).eval()


def _write(folder: Path, config: dict) -> None:
    (folder / CONFIG).write_text(json.dumps(config, indent=1))


def loading_arguments(student: Student, folder: Path | str) -> dict:
    """What ``timm.create_model('local-dir:...')`` is told besides."""
    if student.backbone_config.get('features_only'):  # its tensors have other names while timm loads trained ones
        return {'checkpoint_path': f'{folder}/{WEIGHTS}'}
    return {'pretrained': True}


def _describe(student: Student, preprocessor: Mapping, image_size: int) -> dict:
    import timm

    name = student.backbone_config['model_name']
    theirs = timm.get_pretrained_cfg(name).to_dict()
    kept = {key: theirs[key] for key in ('first_conv', 'classifier', 'pool_size', 'fixed_input_size') if key in theirs}
    bicubic = any(step.get('interpolation') == 'bicubic' for step in training_set(student.config).get('pipeline', ()))
    images = {
        'input_size': [3, image_size, image_size],
        'mean': [value / 255 for value in preprocessor.get('mean') or [0.0] * 3],
        'std': [value / 255 for value in preprocessor.get('std') or [1.0] * 3],
        'interpolation': 'bicubic' if bicubic else 'bilinear',
        'crop_pct': 1.0,
    }
    return {'architecture': name, 'num_classes': 0, 'pretrained_cfg': kept | images | {'num_classes': 0}}


def _compare(found: Tensor | list[Tensor], expected: tuple[Tensor, ...]) -> str | None:
    candidates = {'average': [average(expected[-1])], 'map': [expected[-1]], 'maps': list(expected)}
    found = found if isinstance(found, list) else [found]
    return next((kind for kind, values in candidates.items() if _are_same(found, values)), None)


def _are_same(found: list[Tensor], expected: list[Tensor]) -> bool:
    if [value.shape for value in found] != [value.shape for value in expected]:
        return False
    scales = [value.abs().max().clamp_min(1e-12) for value in expected]
    return all((a - b).abs().max() <= TOLERANCE * scale for a, b, scale in zip(found, expected, scales, strict=True))
