"""Networks of timm and MMPretrain as students, by name: whatever gives feature maps, or tokens that are some."""

import copy
import difflib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass

import timm
import torch
from mmpretrain.apis import ModelHub, list_models
from mmpretrain.registry import MODELS
from torch import nn

from ..configs import find_class, find_image_size
from ..engine.preflight import channel_order, swaps_channels
from ..errors import RepFusionError, UnusableInputError
from ..models.backbones.timm_feature_maps import is_channels_last

# What makes a backbone of MMPretrain return maps, for those whose constructor knows it.
GIVES_MAPS = {'gap_before_final_norm': False, 'out_type': 'featmap'}
# What lets one that was made for a size take another, likewise.
TAKES_SMALL = {'pad_small_map': True}
IMAGENET = {'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375]}


@dataclass
class Network:
    """A student by name.

    Attributes:
        backbone: Config of the backbone.
        neck: Config of what makes maps of its features; None where they are maps.
        mean: Mean of its images' pixels, RGB, as its library normalises them.
        std: Their deviation.
        shapes: Of its maps of an image, ``(C, h, w)``.
    """

    backbone: dict
    neck: dict | None
    mean: list[float]
    std: list[float]
    shapes: list[tuple[int, int, int]]


def describe_student(name: str, maps: int, size: int) -> Network:
    """A model of timm or MMPretrain, without trained weights.

    Args:
        name: As ``timm.list_models()`` or ``mmpretrain.list_models()`` has it.
        maps: Number of feature maps that it is to give, the last ones.
        size: Side of its images in pixels.

    Raises:
        ValueError: When there is no such model, or it does not give so many maps of images of that size.
    """
    if timm.is_model(name):
        values = timm.get_pretrained_cfg(name)
        mean, std = ([round(255 * value, 3) for value in each] for each in (values.mean, values.std))
        candidates, made_for = _timm_candidates(name, maps, size), values.input_size[-1]
    else:
        config = _find_config(name)
        mean, std = _normalisation(config)
        candidates = _mmpretrain_candidates(config, maps, size)
        made_for = find_image_size(config) if 'train_dataloader' in config else None
    backbone, neck, shapes = _first_that_fits(name, candidates, maps, size, made_for)
    return Network(backbone, neck, mean, std, shapes)


def _first_that_fits(
    name: str, candidates: Iterator[tuple[dict, dict | None]], maps: int, size: int, made_for: int | None
) -> tuple[dict, dict | None, list]:
    reason = ''
    for backbone, neck in candidates:
        try:
            shapes = feature_shapes(backbone, neck, size)
        except Exception as error:  # a network of others may fail in any way at a size that it was not made for
            reason = reason or _first_line(error)
            continue
        if len(shapes) == maps and all(len(shape) == 3 for shape in shapes):
            return backbone, neck, shapes
        reason = f'it gives features of shape {shapes}, expected {maps} maps (C, h, w), one for each of --layers'
    other = f' It was made for {made_for} px: try --image-size {made_for}.' if made_for not in (None, size) else ''
    raise UnusableInputError(
        f'--student {name} cannot be used with images of {size}x{size} pixels: {reason}.{other} Or choose another.'
    )


def _first_line(error: Exception) -> str:
    line = str(error).partition('\n')[0].rstrip('.') or 'no message'
    return line if isinstance(error, RepFusionError) else f'{type(error).__name__}: {line}'


def feature_shapes(backbone: dict, neck: dict | None, size: int) -> list[tuple[int, ...]]:
    """Shapes of the features of an image, where possible without computing them.

    Raises:
        Exception: Of any kind, as the network raises it.
    """
    try:
        return _run(backbone, neck, size, 'meta')
    except (NotImplementedError, RuntimeError) as error:
        if 'meta' not in str(error):
            raise
        # Some look at values when they are built, and there are none.
        return _run(backbone, neck, size, 'cpu')


@torch.no_grad()
def _run(backbone: dict, neck: dict | None, size: int, device: str) -> list[tuple[int, ...]]:
    with torch.device(device):
        network = MODELS.build(copy.deepcopy(backbone))  # some change the lists that they are given
        maps = MODELS.build(neck) if neck else nn.Identity()
    network.eval()
    maps.eval()
    features = maps(network(torch.zeros(1, 3, size, size, device=device)))
    if is_channels_last(network, features[-1]):
        raise UnusableInputError('its maps are (h, w, C)')
    return [tuple(feature.shape[1:]) for feature in features]


def _timm_candidates(name: str, maps: int, size: int) -> Iterator[tuple[dict, None]]:
    last = [{'type': 'TIMMBackbone', 'model_name': name}] if maps == 1 else []
    several = {'maps': maps} if maps > 1 else {}
    for backbone in (*last, {'type': 'TIMMFeatureMaps', 'model_name': name} | several):
        yield backbone, None
        yield backbone | {'img_size': size}, None


def _find_config(name: str):
    """MMPretrain's config of a model."""
    names = list_models()
    if name not in names:
        near = difflib.get_close_matches(name, [*timm.list_models(), *names], n=5, cutoff=0.4)
        raise UnusableInputError(
            f'--student {name}: neither timm nor MMPretrain has such a model. Near ones: {", ".join(near)}. All are in '
            'timm.list_models() and mmpretrain.list_models().'
        )
    try:
        config = ModelHub.get(name).config
    except Exception as error:  # of some of its own configs, whatever is wrong with them
        raise UnusableInputError(f'--student {name}: its config in MMPretrain cannot be read: {error!r}.') from error
    if config is None or 'backbone' not in config.get('model', {}):
        raise UnusableInputError(
            f'--student {name}: it has no backbone. Choose a classifier, such as resnet50_8xb32_in1k.'
        )
    return config


def _normalisation(config) -> tuple[list[float], list[float]]:
    preprocessor = IMAGENET | (config.get('data_preprocessor') or {})
    is_bgr = channel_order(config.get('train_dataloader', {}).get('dataset', {})) == 'BGR'
    order = -1 if is_bgr and not swaps_channels(preprocessor) else 1
    mean, std = (list(preprocessor[key])[::order] for key in ('mean', 'std'))
    return mean, std


def _mmpretrain_candidates(config, maps: int, size: int) -> Iterator[tuple[dict, dict | None]]:
    backbone = config.model.backbone.to_dict()
    for key in ('frozen_stages', 'num_classes'):  # for probes, and for backbones that end in a classifier
        backbone.pop(key, None)
    if 'checkpoint' in (backbone.get('init_cfg') or {}):
        backbone.pop('init_cfg')
    backbone, parameters = _give_maps(backbone, maps)
    necks = config.model.get('neck') or []
    fuse = [neck.to_dict() for neck in (necks if isinstance(necks, list) else [necks]) if neck.type == 'HRFuseScales']
    for neck in (None, *fuse, {'type': 'TokenMaps'}):
        yield backbone, neck
        for options in ({'img_size': size}, TAKES_SMALL, {'img_size': size} | TAKES_SMALL):
            if options.keys() <= parameters.keys():
                yield backbone | options, neck


def _give_maps(backbone: dict, maps: int) -> tuple[dict, dict]:
    """The backbone's config with as many maps as asked for, where its constructor has a say in that, whose arguments
    are given as well.
    """
    parameters = {
        name: parameter.default
        for parent in reversed(find_class('backbone', backbone).__mro__)
        for name, parameter in inspect.signature(parent.__init__).parameters.items()
    }
    settings = backbone | {key: value for key, value in GIVES_MAPS.items() if key in parameters}
    given = settings.get('out_indices', parameters.get('out_indices'))
    indices = [given] if isinstance(given, int) else given
    if indices and len(indices) != maps:
        settings['out_indices'] = list(range(max(indices) - maps + 1, max(indices) + 1))
    return settings, parameters
