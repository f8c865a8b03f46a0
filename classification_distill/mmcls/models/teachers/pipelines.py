"""Loading of a teacher's diffusers pipeline."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from ...errors import MissingFileError, UnusableInputError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

_COPY = 'Check the spelling; without a network, copy the pipeline folder to this machine and give its path.'
_TRAIN_FIRST = 'A training by a config of configs/teacher writes such a folder, pipeline, into its work directory.'


def load_pipeline(
    pretrained: str, pipeline_class: str, networks: dict[str, str | tuple[str, ...]], **components
) -> 'DiffusionPipeline':
    """Load a pipeline from a folder or the hub.

    Args:
        pretrained: Hub id, or the folder of a saved pipeline (``model_index.json`` and what it names).
        pipeline_class: Name of diffusers' class that loads it.
        networks: The class, or classes, that each component must have, checked before any weight is loaded.
        components: Components to use instead of the pipeline's own; None leaves one out.

    Raises:
        FileNotFoundError: When ``pretrained`` is a folder without a pipeline, or cannot be fetched from the hub.
        ValueError: When a component is of another class.
    """
    import diffusers
    from diffusers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of two files, in seconds
    # diffusers finds a component of another library only where its module has been imported.
    from ..guided_diffusion import adm_unet  # noqa: F401

    load = getattr(diffusers, pipeline_class)
    with explained(pretrained):
        _check_family(pretrained, load, networks)
        return load.from_pretrained(pretrained, **components)


def load_autoencoder(pretrained: str) -> nn.Module:
    """An ``AutoencoderKL`` or ``AutoencoderTiny`` of diffusers.

    Args:
        pretrained: Hub id, or the folder of a saved autoencoder.

    Raises:
        FileNotFoundError: When there is none.
        ValueError: When it is of another class.
    """
    import diffusers

    try:
        kind = diffusers.AutoencoderKL.load_config(pretrained).get('_class_name')
        if kind not in ('AutoencoderKL', 'AutoencoderTiny'):
            raise UnusableInputError(
                f'autoencoder={pretrained!r} is of class {kind}, expected AutoencoderKL or AutoencoderTiny.'
            )
        return getattr(diffusers, kind).from_pretrained(pretrained)
    except OSError as error:
        raise MissingFileError(
            f'autoencoder={pretrained!r} is neither a folder of an AutoencoderKL or AutoencoderTiny here nor a model '
            f'that the Hugging Face hub gave. {_COPY} ({_root_cause(error)})'
        ) from error


def load_index(pretrained: str) -> dict:
    """A pipeline's ``model_index.json``.

    Raises:
        FileNotFoundError: As ``load_pipeline``.
    """
    from diffusers import DiffusionPipeline

    with explained(pretrained):
        return DiffusionPipeline.load_config(pretrained)


@contextmanager
def explained(pretrained: str) -> Iterator[None]:
    """Say what was looked for where diffusers finds nothing."""
    folder = Path(pretrained)
    if not str(pretrained):
        raise MissingFileError('teacher.pretrained is empty: give a hub id or the folder of a diffusers pipeline.')
    if folder.exists() and not (folder / 'model_index.json').is_file():
        raise MissingFileError(
            f'teacher.pretrained={pretrained!r} is no diffusers pipeline: it holds no model_index.json. Give the '
            'folder that pipeline.save_pretrained() wrote.'
        )
    try:
        if not folder.exists():
            _ask_hub(pretrained)
        yield
    except OSError as error:
        if folder.exists():
            raise MissingFileError(f'The diffusers pipeline in {pretrained!r} does not load: {error}') from error
        raise MissingFileError(
            f'teacher.pretrained={pretrained!r} is neither a folder here nor a model that the Hugging Face hub gave. '
            + (_TRAIN_FIRST if folder.parts[0] == 'work_dirs' else _COPY)
            + f' ({_root_cause(error)})'
        ) from error


def _ask_hub(pretrained: str) -> None:
    """Once, where nothing is cached: diffusers tries for half a minute to reach a hub that cannot be reached."""
    from huggingface_hub import model_info, try_to_load_from_cache

    try:
        if try_to_load_from_cache(pretrained, 'model_index.json') is None:
            model_info(pretrained, timeout=10)
    except Exception as error:  # of the client, whose versions have several
        raise OSError(f'The hub gave no {pretrained!r}.') from error


def _root_cause(error: BaseException) -> str:
    """What diffusers hides: whether the hub could not be reached, or has no such model."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return f'{type(error).__name__}: {str(error).splitlines()[0] if str(error) else "no message"}'


def _check_family(
    pretrained: str, pipeline_class: type['DiffusionPipeline'], networks: dict[str, str | tuple[str, ...]]
) -> None:
    index = pipeline_class.load_config(pretrained)
    held = {name: entry[1] for name, entry in index.items() if isinstance(entry, list | tuple)}
    allowed = {name: (classes,) if isinstance(classes, str) else classes for name, classes in networks.items()}
    foreign = held.keys() - inspect.signature(pipeline_class.__init__).parameters.keys()
    if foreign or any(held.get(name) not in classes for name, classes in allowed.items()):
        expected = ', '.join(f'{name}: {" or ".join(classes)}' for name, classes in allowed.items())
        raise UnusableInputError(
            f'teacher.pretrained={pretrained!r} is a pipeline for another teacher. Expected {expected}; it holds '
            f'{", ".join(f"{name}: {found}" for name, found in held.items())}. DiffusersTeacher reads pixel-space '
            'U-Nets, LatentTeacher latent ones, DiTTeacher transformers, ConsistencyTeacher consistency models, '
            'TextToImageTeacher text-to-image pipelines.'
        )
