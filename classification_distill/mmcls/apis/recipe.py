"""What is distilled of a teacher and how, fitted to a teacher and a student."""

from contextlib import nullcontext, suppress
from pathlib import Path

from mmengine.config import Config
from mmpretrain.registry import MODELS

from ..configs import load_config
from ..errors import UnusableInputError
from ..models.teachers import BaseTeacher
from .folder_config import POLICIES, RECIPE, Settings
from .networks import Network, describe_student
from .teacher import describe_teacher

# The U-Nets that the recipe was found on.
OF_THE_RECIPE = ('DiffusersTeacher', 'ADMTeacher', 'LatentTeacher')


def fit_recipe(
    settings: Settings, source: str, variant: str | None, layers: list[str] | None, name: str
) -> tuple[dict, int, Network]:
    """Build teacher and student, and settle the size of the images, the layers and how they are compared.

    Returns:
        tuple: The model by the recipe, the number of the teacher's timesteps, and the student.
    """
    recipe = read_recipe(settings.recipe)
    try:
        described = describe_teacher(source, variant) | recipe['teacher']
        asked = settings.recipe != RECIPE
        teacher = None
        if not layers and (asked or described['type'] in OF_THE_RECIPE):
            with nullcontext() if asked else suppress(ValueError):  # no such layers, or not as many maps
                teacher, student = _build_pair(described, name, settings.image_size)
        if teacher is None:
            described.pop('layers')
            if layers:
                described['layers'] = layers
            teacher, student = _build_pair(described, name, settings.image_size)
            recipe['distill_loss'] = [{'type': 'HintLoss'}] * len(teacher.layers)
    except (OSError, ValueError) as error:
        raise UnusableInputError(str(error)) from error
    settings.image_size = settings.image_size or teacher.sample_size[0]
    described['layers'] = list(teacher.layers)
    layers = ', '.join(f'{name} ({c} channels, stride {s})' for name, (c, s) in teacher.feature_info.items())
    print(f'{source}: {described["type"]}, {teacher.sample_size[0]} px, layers {layers}', flush=True)
    maps = ', '.join('x'.join(map(str, shape)) for shape in student.shapes)
    print(f'{name}: {student.backbone["type"]}, {settings.image_size} px, maps {maps}', flush=True)
    return recipe | {'teacher': described}, teacher.num_timesteps, student


def read_recipe(path: Path) -> dict:
    """What is distilled and how, by ``model`` of a config.

    Raises:
        UnusableInputError: When a part of it is missing.
    """
    model = load_config(path).get('model', {})
    parts = ('teacher', 'timestep_policy', 'distill_loss', 'standardizer')
    lacking = [f'model.{part}' for part in parts if part not in model]
    if lacking or 'layers' not in model.teacher:
        raise UnusableInputError(
            f'{path} lacks {", ".join(lacking) or "model.teacher.layers"}: a recipe is as {RECIPE}.'
        )
    recipe = Config({part: model[part] for part in parts}).to_dict()
    # Of a whole distillation's teacher, how it is read, and not which one it is.
    recipe['teacher'] = {key: recipe['teacher'][key] for key in ('layers', 'noise') if key in recipe['teacher']}
    if not isinstance(recipe['distill_loss'], list):
        recipe['distill_loss'] = [recipe['distill_loss']] * len(model.teacher.layers)
    return recipe


def _build_pair(teacher: dict, student: str, size: int | None) -> tuple[BaseTeacher, Network]:
    """A teacher, and a student that gives as many maps as it has layers."""
    built = MODELS.build(teacher)
    return built, describe_student(student, len(built.layers), size or built.sample_size[0])


def choose_policy(recipe: dict, name: str | None, timestep: int | None, num_timesteps: int) -> dict:
    """The config of the policy: of the name or the timestep that was given, else the recipe's, whose t is of 1,000."""
    if timestep is not None:
        if name not in (None, 'fixed'):
            raise UnusableInputError(f'timestep={timestep} is for the policy fixed, not {name}.')
        if not 0 <= timestep < num_timesteps:
            raise UnusableInputError(
                f'timestep={timestep}: expected 0 to {num_timesteps - 1}, the timesteps of the teacher.'
            )
        return POLICIES['fixed'] | {'timestep': timestep}
    if name is None:
        name = 'fixed' if recipe['type'] == 'FixedPolicy' else None
    if name == 'fixed':
        if 'timestep' not in recipe:
            raise UnusableInputError(f'policy={name!r}: give its timestep, since the recipe has none.')
        return POLICIES['fixed'] | {'timestep': recipe['timestep'] * num_timesteps // 1000}
    return POLICIES[name] if name else recipe
