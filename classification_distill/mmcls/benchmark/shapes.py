"""What a step of a config costs, from the shapes of its model alone."""

import torch
from diffusers import DDPMScheduler, UNet2DModel
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..configs import find_image_size, type_name
from ..errors import UnusableInputError
from ..models.guided_diffusion import build_unet, get_variant
from ..models.teachers.diffusers_teacher import MIDDLE, UNetTeacher
from .presets import HUB

TEACHERS = ('ADMTeacher', 'DiffusersTeacher')


@MODELS.register_module()
class WeightlessTeacher(UNetTeacher):
    """The architecture that a config's teacher, one of ``TEACHERS``, names, without its weights."""

    def __init__(self, teacher: dict):
        options = {'layers': (MIDDLE,)} | teacher
        options.pop('type')
        with torch.device('meta'):
            if type_name(teacher) == 'ADMTeacher':
                options.pop('checkpoint')
                network = build_unet(get_variant(options.pop('variant')))
            else:
                pretrained = options.pop('pretrained')
                unet = HUB.get(pretrained) or UNet2DModel.load_config(pretrained, subfolder='unet')
                network = UNet2DModel.from_config(unet)
        super().__init__(network, DDPMScheduler(), **options)


def count(config: Config) -> dict[str, int]:
    """What a step costs, from shapes alone: nothing is computed and no weight is read.

    Returns:
        dict[str, int]: FLOPs an image: ``teacher_flops``, ``forward_flops`` and ``backward_flops`` of all that is
        trained; bytes: ``gradients``, all-reduced once an update, and ``checkpoint``; ``messages``, the further
        all-reduces of statistics in a step, which are too small for their bytes to count.
    """
    init_default_scope('mmpretrain')
    settings = config.model.to_dict() | {'data_preprocessor': config.get('data_preprocessor')}
    teacher = settings.pop('teacher')
    model = MODELS.build(settings | {'teacher': {'type': 'WeightlessTeacher', 'teacher': teacher}}).to('meta')
    flops = _count_flops(model, _image_size(config))
    weights = sum(weight.numel() for weight in model.parameters())
    state = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    copies = 1 + any(type_name(hook) == 'EMAHook' for hook in config.get('custom_hooks', []))
    optimizer = config.optim_wrapper.optimizer
    moments = 2 if 'Adam' in type_name(optimizer) else int(bool(optimizer.get('momentum')))
    messages = int(model.timestep_policy.learns) + 3 * len(model.standardizers or ())
    return flops | {
        'gradients': 4 * weights,
        'checkpoint': copies * state + 4 * moments * weights,
        'messages': messages,
    }


def _image_size(config: Config) -> int:
    size = find_image_size(config)
    if size is None:
        raise UnusableInputError('it does not say how large its images are.')
    return size


def _count_flops(model: nn.Module, size: int) -> dict[str, int]:
    batch = 2
    images = torch.zeros(batch, 3, size, size, device='meta')
    t = torch.zeros(batch, dtype=torch.int64, device='meta')
    teacher, forward, backward = (FlopCounterMode(display=False) for _ in range(3))
    with sdpa_kernel(SDPBackend.MATH):
        with teacher:
            targets = list(model.teacher(images, t).values())
        with forward:
            features = model.extract_feat(images)
            pairs = zip(model.connectors, features, targets, strict=True)
            outputs = [connector(feature, target.shape) for connector, feature, target in pairs]
            if model.timestep_policy.learns:
                outputs.append(model.timestep_policy.net(images))
            if model.task_head is not None and model.task_head.learns:
                outputs.append(model.task_head(targets))
        with backward:
            sum(output.mean() for output in outputs).backward()
    names = ('teacher_flops', 'forward_flops', 'backward_flops')
    return {name: c.get_total_flops() // batch for name, c in zip(names, (teacher, forward, backward), strict=True)}
