"""A diffusion model as a teacher, from the name of what holds it."""

from pathlib import Path

from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from ..configs import find_class
from ..errors import UnusableInputError
from ..models.guided_diffusion import choose_variant
from ..models.guided_diffusion.edm import PUBLISHED as PUBLISHED_EDM
from ..models.teachers import BaseTeacher, TextToImageTeacher
from ..models.teachers.families import find_teacher_type
from ..models.teachers.literature import found_layers
from ..models.teachers.pipeline_files import PipelineFiles
from ..models.teachers.sit_teacher import is_sit
from ..weights import CheckpointError, load_checkpoint


def describe_teacher(source: str, variant: str | None = None) -> dict:
    """Config of the teacher that reads a checkpoint, a pipeline's folder or a model of the hub.

    Raises:
        FileNotFoundError: When there is no such thing.
        ValueError: When a checkpoint's variant is unknown.
    """
    path = Path(source)
    beside = (path if path.is_dir() else path.parent) / 'pipeline'
    is_training = path.suffix == '.pth' or (path.is_dir() and not (path / 'model_index.json').is_file())
    if is_training and (beside / 'model_index.json').is_file():
        raise UnusableInputError(f'{source} is of a training. The diffusion model that it left is {beside}.')
    if path.is_file():
        checkpoint = str(path.resolve())
        if path.suffix == '.pkl' or path.stem in PUBLISHED_EDM:
            return {'type': 'EDMTeacher', 'checkpoint': checkpoint}
        try:
            return {'type': 'ADMTeacher', 'checkpoint': checkpoint, 'variant': choose_variant(path, variant)}
        except UnusableInputError:
            if variant is None and _holds_sit(path):
                return {'type': 'SiTTeacher', 'checkpoint': checkpoint}
            raise
    pretrained = str(path.resolve()) if path.exists() else source
    return {'type': find_teacher_type(pretrained), 'pretrained': pretrained}


def _holds_sit(path: Path) -> bool:
    try:
        state = load_checkpoint(path, mmap=True)
    except CheckpointError:
        return False
    return isinstance(state, dict) and is_sit(state.get('ema', state))


def load_teacher(
    source: str | Path, layers: list[str] | str | None = None, variant: str | None = None, **options
) -> BaseTeacher:
    """Load a frozen diffusion model whose features can be read.

    Args:
        source: Model of the hub, folder of a diffusers pipeline, or checkpoint of guided-diffusion, EDM, SiT or REPA.
        layers: Names of the network's modules to read; by default the last of its middle, or what the literature found
            best for its family. ``'blocks'`` for every residual or transformer block, and what the literature found
            besides.
        variant: Of a guided-diffusion checkpoint whose name does not tell it: 64, 128, 256, 256-uncond, 512, FILE.json.
        options: Further options of the teacher, such as ``noise='forward'``, ``dtype='bfloat16'``, or for many images
            on a GPU ``compile=True``.

    Returns:
        BaseTeacher: On the CPU; ``.to('cuda')`` moves it. ``read(images, t)`` takes PIL images, arrays or tensors.

    Raises:
        FileNotFoundError: When there is no such thing.
        ValueError: When it cannot be read, or a layer or option is unknown.

    Examples:
        >>> teacher = load_teacher('google/ddpm-cifar10-32', ['up_blocks.1.resnets.2.conv2'])
        >>> teacher.feature_info
        {'up_blocks.1.resnets.2.conv2': (256, 4)}
    """
    init_default_scope('mmpretrain')
    settings = describe_teacher(str(source), variant) | {'compile': False} | options
    if layers:
        settings['layers'] = every_block(settings) if layers == 'blocks' else layers
    return MODELS.build(settings)


def every_block(settings: dict) -> list[str]:
    """Names of the residual or transformer blocks of the teacher that a config describes, in the order of the calls.

    At the end come further layers that the literature found best for its family.
    """
    kind = find_class('model.teacher', settings)
    if kind is TextToImageTeacher:
        files = PipelineFiles(settings['pretrained'])
        family, network = files.index.get('_class_name'), files.denoiser()[1]
    else:
        family, network = kind.__name__, MODELS.build(settings | {'layers': [kind.last_layer]}).network
    names = [name for name, _ in network.named_modules()]
    blocks = _blocks(names)
    return blocks + [layer for layer in found_layers(family) if layer in names and layer not in blocks]


def _blocks(names: list[str]) -> list[str]:
    """Those of a network's modules that are its residual or transformer blocks, in the order of the calls."""
    lists = ('transformer_blocks', 'single_transformer_blocks', 'layers')  # of a transformer, in the order of the calls
    if tokens := [name for name in names if name.partition('.')[0] in lists and name.count('.') == 1]:
        return tokens
    layers = [name for name in names if name.rpartition('.')[2].isdigit() and name.split('.')[-2] == 'resnets']
    return sorted(layers, key=lambda name: name.split('.')[0])  # down, middle, up
