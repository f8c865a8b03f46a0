"""What a text-to-image pipeline tells its denoiser for a prompt, asked of the pipeline itself, and kept in a file."""

import fcntl
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ...files import cache_folder, written_whole
from .pipeline_files import PipelineFiles
from .text_to_image_families import Family

_NOT_NEEDED = ('safety_checker', 'feature_extractor', 'image_encoder', 'watermarker')


def ask(
    files: PipelineFiles,
    family: Family,
    components: dict[str, nn.Module],
    network: nn.Module,
    size: tuple[int, int],
    prompt: str,
) -> dict[str, object]:
    """What a pipeline tells its denoiser for a prompt, by name; dicts within as ``outer/inner``.

    Args:
        files: The pipeline.
        family: Its family.
        components: Its denoiser, without weights, and its autoencoder.
        network: The denoiser.
        size: Height and width of the images.
        prompt: The prompt.

    Returns:
        dict: Tensors and plain values; and ``first_timestep``, see ``record_arguments``.
    """
    import diffusers

    call = {'prompt': prompt} | ({} if prompt else family.call(network))
    left_out = () if prompt else family.left_out

    def compute() -> dict[str, object]:
        names = [name for name, entry in files.index.items() if name.startswith('text_encoder') and entry[0]]
        encoders = {name: files.component(name) for name in names if name not in left_out}
        pipeline = build_pipeline(files, components | encoders, [*left_out, *_NOT_NEEDED])
        return record_arguments(pipeline, network, size, **call)

    origin = {
        'prompt': prompt,
        'size': size,
        'pipeline': files.index,
        'denoiser': dict(network.config),
        'diffusers': diffusers.__version__,
        'left_out': left_out,
        'commit': None if files.is_local else files.commit,
    }
    return kept(origin, files.folder() if files.is_local else None, compute)


def build_pipeline(files: PipelineFiles, components: dict[str, nn.Module], left_out: Sequence[str]):
    """The pipeline with some of its components given, and without others."""
    import diffusers

    kind = getattr(diffusers, files.index['_class_name'])
    parts = [name for name, entry in files.index.items() if isinstance(entry, list | tuple)]
    absent = {name: None for name in parts if name in left_out and name not in (*components, 'scheduler')}
    if 'requires_safety_checker' in inspect.signature(kind.__init__).parameters:
        absent['requires_safety_checker'] = False
    return kind.from_pretrained(files.folder('scheduler/*', 'tokenizer*/*'), **components, **absent)


class _RecordedError(Exception):
    """Leaves the pipeline's call once its denoiser has been called."""


def record_arguments(pipeline, network: nn.Module, size: tuple[int, int], **call) -> dict[str, object]:
    """The arguments of a pipeline's first call of its denoiser, which needs no weights.

    Args:
        pipeline: Any text-to-image pipeline of diffusers that holds ``network``.
        network: The denoiser.
        size: Height and width of the images.
        call: Arguments of the pipeline's own call besides those that every family gets.

    Returns:
        dict: By name, dicts within as ``outer/inner``; and ``first_timestep`` of the pipeline's scheduler, in whose
        time the network is told the first.
    """
    recorded = {}

    def stop(module: nn.Module, args: tuple, kwargs: dict) -> None:
        recorded.update(dict(zip(inspect.signature(network.forward).parameters, args, strict=False)) | kwargs)
        raise _RecordedError

    wanted = {
        'height': size[0],
        'width': size[1],
        'num_inference_steps': 2,
        'guidance_scale': 1.0,
        'output_type': 'latent',
        'use_resolution_binning': False,
        'complex_human_instruction': None,  # Sana puts a page of instructions before the prompt
        'clean_caption': False,
    } | call
    if network.config.get('guidance_embeds'):  # the network is told it: the pipeline's own default
        del wanted['guidance_scale']
    known = inspect.signature(pipeline.__call__).parameters
    # Without weights the network is on no device that the pipeline could work on.
    pipeline.__class__ = type('OnCpu', (type(pipeline),), {'_execution_device': torch.device('cpu')})
    pipeline.set_progress_bar_config(disable=True)
    handle = network.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with torch.no_grad():
            pipeline(**{name: value for name, value in wanted.items() if name in known})
    except _RecordedError:
        pass
    finally:
        handle.remove()
    return dict(_flat(recorded)) | {'first_timestep': float(pipeline.scheduler.timesteps[0])}


def _flat(arguments: dict, prefix: str = '') -> Iterator[tuple[str, object]]:
    for name, value in arguments.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f'{prefix}{name}/')
        else:
            yield prefix + name, value


def nested(flat: dict[str, object]) -> dict[str, object]:
    """The arguments as a network takes them, ``outer/inner`` as dicts within."""
    arguments: dict = {}
    for path, value in flat.items():
        *outer, name = path.split('/')
        place = arguments
        for each in outer:
            place = place.setdefault(each, {})
        place[name] = value
    return arguments


def kept(origin: dict[str, object], folder: Path | None, compute: Callable[[], dict]) -> dict[str, object]:
    """``compute()``, tensors and plain values by name, from the file of an earlier call where there is one.

    Args:
        origin: What the result follows from.
        folder: A pipeline's folder, whose text encoders and tokenizers it follows from, too; None where ``origin``
            names a commit.
        compute: Gives the result.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    digest = hashlib.sha256(json.dumps(origin, sort_keys=True, default=str).encode())
    for path in sorted(folder.rglob('*')) if folder else ():
        if path.is_file() and path.parent.name.startswith(('text_encoder', 'tokenizer')):
            digest.update(f'{path.relative_to(folder)} {path.stat().st_size}'.encode())
            with path.open('rb') as file:
                digest.update(file.read(1 << 20))  # of weights the header, which names every tensor
    file = cache_folder('prompts') / f'{digest.hexdigest()[:32]}.safetensors'
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file.with_suffix('.lock'), 'w') as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)  # of several processes one asks, and the others wait for it
        if not file.is_file():
            result = compute()
            tensors = {name: value.contiguous() for name, value in result.items() if isinstance(value, Tensor)}
            plain = {name: value for name, value in result.items() if not isinstance(value, Tensor)}
            with written_whole(file) as partial:
                save_file(tensors, partial, metadata={'plain': json.dumps(plain)})
    with safe_open(file, 'pt') as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118, not a dict
        return tensors | json.loads(stored.metadata()['plain'])
