"""A student's backbone out of a training checkpoint, without its teacher."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..configs import (
    GIVE_CONFIG,
    find_image_size,
    find_preprocessor,
    load_config,
    parse_config,
    training_set,
    type_name,
    walk,
)
from ..engine.preflight import channel_order, swaps_channels
from ..errors import MissingFileError, UnusableInputError
from ..models.images import Images, as_batch
from ..weights import STUDENT_PREFIX, describe_prefixes, load_checkpoint, load_weights

# In a published folder: the distillation's config, and the weights by the name that timm looks for.
TRAINING, WEIGHTS = 'training.json', 'model.safetensors'
PUBLISHED_SIZE = 'published_image_size'  # in the former: the training pipeline may not say it
TIMM_BACKBONES = ('TIMMBackbone', 'TIMMFeatureMaps')
STARTING_WEIGHTS = ('init_cfg', 'pretrained', 'checkpoint_path')


@dataclass
class Student:
    """A student's backbone and the run that it comes from.

    Attributes:
        backbone: With its weights, in evaluation mode.
        backbone_config: What builds it; weights that it once started from are left out.
        config: Of the whole run.
        checkpoint: The file that it comes from.
        epoch: Epochs trained.
        iteration: Iterations trained.
        averaged: Whether the weights are an average over training (EMA).
    """

    backbone: nn.Module
    backbone_config: dict
    config: dict
    checkpoint: Path
    epoch: int
    iteration: int
    averaged: bool

    @property
    def is_timm(self) -> bool:
        return type(self.backbone).__name__ in TIMM_BACKBONES


def read_student(path: Path, config_file: str | None = None) -> Student:
    """Build a student's backbone from a checkpoint of ``RepFusion`` or ``KDClassifier``.

    Args:
        path: Checkpoint that MMEngine wrote. Nothing in it is executed.
        config_file: The run's config; by default the one that the checkpoint keeps.

    Raises:
        ValueError: For a file that is damaged or holds more than data, without a student, or whose config does not
            describe it.
    """
    checkpoint = load_checkpoint(path)
    # EMAHook saves the averaged weights as state_dict, and those being trained as ema_state_dict: what MMEngine tests
    # is always state_dict.
    weights = checkpoint.get('state_dict', {})
    state_dict = {
        key.removeprefix(STUDENT_PREFIX): value for key, value in weights.items() if key.startswith(STUDENT_PREFIX)
    }
    if not state_dict:
        raise UnusableInputError(
            f'{path} holds no student: no tensor is named {STUDENT_PREFIX}*. Prefixes that it holds: '
            f'{describe_prefixes(weights)}. Give a checkpoint that a distillation wrote.'
        )
    meta = checkpoint.get('meta', {})
    config = load_config(config_file).to_dict() if config_file else parse_config(meta.get('cfg', ''), path)
    source = config_file or f'The config that {path} keeps'
    if 'backbone' not in config.get('model', {}):
        raise UnusableInputError(f'{source} has no model.backbone. {GIVE_CONFIG}')
    settings = backbone_settings(config, None if config_file else source)
    backbone = _build(settings, state_dict, f'{source} does not describe the student of {path}')
    return Student(
        backbone=backbone,
        backbone_config=settings,
        config=config,
        checkpoint=path,
        epoch=meta.get('epoch', 0),
        iteration=meta.get('iter', 0),
        averaged='ema_state_dict' in checkpoint,
    )


def backbone_settings(config: Mapping, source: str | None) -> dict:
    """What builds a config's backbone, without what it once started from.

    Args:
        config: Of a distillation.
        source: Where a stranger's config is from, for the message; None trusts it.

    Raises:
        UnusableInputError: When a stranger's config asks for other than a backbone of MMPretrain or mmcls.
    """
    settings = {key: value for key, value in config['model']['backbone'].items() if key not in STARTING_WEIGHTS}
    if source:
        settings = _bare_types(settings)
        _refuse_foreign_types(settings, source)
    return settings


def _build(settings: dict, state_dict: dict, problem: str) -> nn.Module:
    init_default_scope('mmpretrain')
    backbone = MODELS.build(settings)
    try:
        backbone.load_state_dict(state_dict)
    except RuntimeError as error:
        raise UnusableInputError(f'{problem}. {error}') from error
    backbone.eval()  # of MMPretrain's, it returns nothing
    return backbone


class NormalizedStudent(nn.Module):
    """A student's backbone that takes images as they are.

    Args:
        backbone: The backbone.
        mean: Mean of its images' pixels (0 to 255) in its order of channels; None where they are not normalised.
        std: Their deviation.
        is_bgr: Whether its order of channels is BGR.
    """

    def __init__(self, backbone: nn.Module, mean: list[float] | None, std: list[float] | None, is_bgr: bool = False):
        super().__init__()
        self.backbone = backbone
        self.is_bgr = is_bgr
        self.register_buffer('mean', torch.tensor(mean or [0.0] * 3).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std or [1.0] * 3).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The backbone's maps ``(N, C, h, w)`` of RGB images ``(N, 3, H, W)`` in [0, 1]."""
        pixels = 255 * (images.flip(1) if self.is_bgr else images)
        return self.backbone((pixels - self.mean) / self.std)

    def features(self, images: Tensor) -> Tensor:
        """The averages ``(N, C)`` of the last map, which pooled losses compare, of images as ``forward`` takes them."""
        return average(self(images)[-1])

    @torch.no_grad()
    def read(self, images: Images, size: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        """As ``forward``, of PIL images, arrays or tensors, resized to ``size``; see ``as_batch``."""
        return self(as_batch(images, size).to(self.mean.device))


def average(feature: Tensor) -> Tensor:
    """Averages ``(N, C)`` of a map ``(N, C, h, w)``, or of tokens ``(N, C, L)``."""
    return feature.flatten(2).mean(2)


@torch.no_grad()
def trial_images(network: nn.Module, size: int) -> Tensor:
    """Images ``(3, 3, H, W)`` in [0, 1] by which two ways to compute a student's features are told apart.

    They are of the training's size or, where that is small and the network takes others, of 128 pixels: of a last map
    with one place any average is the same.
    """
    images = torch.rand(3, 3, max(size, 128), max(size, 128), generator=torch.Generator().manual_seed(0))
    try:
        network(images)
    except Exception:  # of the network, of any kind
        return images[..., :size, :size]
    return images


def load_student(path: str | Path, config_file: str | None = None) -> NormalizedStudent:
    """Load the network that a distillation trained, with the normalisation of its images.

    Args:
        path: Checkpoint of ``RepFusion`` or ``KDClassifier``, or the folder that ``publish`` wrote. Nothing in it is
            run.
        config_file: Config of a checkpoint that keeps none.

    Returns:
        NormalizedStudent: In evaluation mode; ``backbone`` is the network alone.

    Raises:
        RepFusionError: When there is no such file, it is damaged or holds more than data, or no student.

    Examples:
        >>> student = load_student('work_dirs/ddpm-r18_hint/epoch_100.pth')
        >>> student.read(Image.open('digit.png'))[-1].shape
        torch.Size([1, 128, 1, 1])
        >>> student.features(torch.rand(8, 3, 32, 32)).shape
        torch.Size([8, 128])
    """
    backbone, _, config = open_student(path, config_file)
    return normalized(backbone, config)


def open_student(path: str | Path, config_file: str | None = None) -> tuple[nn.Module, dict, dict]:
    """The network as ``load_student`` finds it.

    Returns:
        tuple: The backbone, its config, and the config of the distillation.
    """
    path = Path(path)
    if not path.is_dir():
        student = read_student(path, config_file)
        return student.backbone, student.backbone_config, student.config
    config = _read_published(path)
    settings = backbone_settings(config, str(path))
    backbone = _build(settings, _published_weights(path, settings), f'{path} is not what publish wrote')
    return backbone, settings, config


def normalized(backbone: nn.Module, config: Mapping) -> NormalizedStudent:
    """A backbone with the normalisation of the training that a config describes."""
    preprocessor = find_preprocessor(config)
    order = student_channels(training_set(config), preprocessor)
    return NormalizedStudent(backbone, preprocessor.get('mean'), preprocessor.get('std'), order == 'BGR').eval()


def _read_published(folder: Path) -> dict:
    """The training's config in a published folder."""
    path = folder / TRAINING
    if not path.is_file():
        raise MissingFileError(f'{folder} holds no {TRAINING}: give a folder that publish wrote, or a checkpoint.')
    return json.loads(path.read_text())


def _published_weights(folder: Path, settings: dict) -> dict[str, Tensor]:
    """A published backbone's tensors by their names in MMPretrain."""
    if (path := folder / WEIGHTS).is_file():
        prefix = 'timm_model.' if settings['type'] in TIMM_BACKBONES else ''
        return {prefix + key: value for key, value in load_weights(path).items()}
    return load_checkpoint(folder / 'student.pth')['state_dict']


def image_size_of(path: str | Path) -> int | None:
    """Side in pixels of the images that a student was trained on, where its config says so."""
    path = Path(path)
    if path.is_dir():
        config = _read_published(path)
        return config.get(PUBLISHED_SIZE) or find_image_size(config)
    return find_image_size(read_student(path).config)


def student_channels(dataset: dict, preprocessor: dict) -> str:
    """The order in which the student gets its channels; that of a data set of one's own is taken for RGB."""
    order = channel_order(dataset) or 'RGB'
    return order[::-1] if swaps_channels(preprocessor) else order


def _refuse_foreign_types(settings: dict, source: str) -> None:
    """A registry imports and calls whatever a name with dots stands for, so a stranger's config must have none."""
    ours = ('mmpretrain.models.backbones.', 'mmcls.models.backbones.')
    types = (node['type'] for _, node in walk(settings) if isinstance(node, dict) and 'type' in node)
    foreign = [name for name in types if not isinstance(name, str) or '.' in name]
    known = None if foreign else MODELS.module_dict.get(settings.get('type'))
    if known is None or not known.__module__.startswith(ours):
        raise UnusableInputError(
            f'{source} asks for {foreign or settings.get("type")}, expected a backbone of MMPretrain or of mmcls. A '
            f'config that you trust may ask for others. {GIVE_CONFIG}'
        )


def _bare_types(node):
    """Types of a pure Python config, such as ``mmpretrain.models.ResNet``, by their names in the registry."""
    if isinstance(node, dict):
        return {key: _bare_type(value) if key == 'type' else _bare_types(value) for key, value in node.items()}
    return type(node)(map(_bare_types, node)) if isinstance(node, list | tuple) else node


def _bare_type(kind):
    ours = isinstance(kind, str) and kind.startswith(('mmpretrain.', 'mmcls.'))
    return type_name({'type': kind}) if ours else kind
