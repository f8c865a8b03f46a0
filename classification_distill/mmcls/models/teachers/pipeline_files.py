"""The files of a pipeline, in a folder or on the hub, of which only those that are needed are fetched and read."""

import json
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from pathlib import Path

from torch import nn

from ...errors import UnusableInputError
from ...weights import load_weights
from .pipelines import explained, load_index

GIB = 2**30
_STEM = 'diffusion_pytorch_model'
_VARIANTS = ('', '.fp16', '.bf16')  # of the weights' precision, in the order in which they are preferred


class PipelineFiles:
    """A diffusers pipeline, part by part.

    Args:
        pretrained: Hub id, or the folder of a saved pipeline.

    Attributes:
        index (dict): ``model_index.json``.

    Raises:
        FileNotFoundError: When there is no such pipeline here or on the hub.
    """

    def __init__(self, pretrained: str):
        self.pretrained = pretrained
        self.index = load_index(pretrained)

    def folder(self, *patterns: str) -> Path:
        """The pipeline's folder, in which the files that match are there."""
        if self.is_local:
            return Path(self.pretrained)
        from huggingface_hub import snapshot_download

        with explained(self.pretrained):
            return Path(snapshot_download(self.pretrained, allow_patterns=['model_index.json', *patterns]))

    @property
    def is_local(self) -> bool:
        return Path(self.pretrained).is_dir()

    @property
    def commit(self) -> str:
        """Of the hub, by which its cache names the folder."""
        return self.folder().name

    def component(self, name: str):
        """A model or scheduler of the pipeline, loaded by its class; text encoders in their stored precision."""
        library, kind = self.index[name]
        if library not in ('diffusers', 'transformers'):  # what is named is imported and called
            raise UnusableInputError(
                f'{self.pretrained}: its model_index.json asks for {library}.{kind} as {name}; expected a class of '
                'diffusers or transformers.'
            )
        options = {'dtype': 'auto'} if library == 'transformers' else {}
        return getattr(import_module(library), kind).from_pretrained(
            self.folder(*self._files_of(name)), subfolder=name, **options
        )

    def _files_of(self, name: str) -> list[str]:
        """Of a component's files, one copy of its weights: repositories hold several formats and precisions."""
        names = [file for file in self._sizes if file.startswith(f'{name}/')]
        weights = [file for file in names if file.endswith(('.safetensors', '.bin', '.msgpack', '.h5', '.onnx', '.pb'))]
        safe = [file for file in weights if file.endswith('.safetensors')]
        whole = [file for file in safe if not any(f'{variant}.' in file for variant in _VARIANTS[1:])]
        return [file for file in names if file not in weights] + (whole or safe or weights)

    def denoiser(self) -> tuple[str, nn.Module]:
        """The denoiser's name, and itself without weights; what is no parameter, as tables of positions, is there."""
        import accelerate
        import diffusers

        name = 'transformer' if 'transformer' in self.index else 'unet'
        config = json.loads((self.folder(f'{name}/config.json') / name / 'config.json').read_text())
        with accelerate.init_empty_weights(include_buffers=False):
            return name, getattr(diffusers, config['_class_name']).from_config(config)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Bytes of each file, by its path in the pipeline."""
        if not self.is_local:
            from huggingface_hub import HfApi

            with suppress(Exception):  # without a network, what was fetched before
                files = HfApi().model_info(self.pretrained, files_metadata=True).siblings
                return {file.rfilename: file.size or 0 for file in files}
        folder = self.folder()
        return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob('*') if path.is_file()}

    def describe(self, part: str, network: nn.Module) -> str:
        """What ``load`` reads, and how much of it is to be fetched."""
        parameters = dict(network.named_parameters())
        files = self.weight_files(part, parameters)
        stored = [
            name for name in self._sizes if name.startswith(f'{part}/') and name.endswith(('.safetensors', '.bin'))
        ]
        count = sum(parameter.numel() for parameter in parameters.values())
        text = f'{count / 1e6:,.0f} M parameters of {part}, in {len(files)} of {len(stored)} files of weights'
        present = {str(path.relative_to(self.folder())) for path in self.folder().rglob('*') if path.is_file()}
        missing = sum(self._sizes[name] for name in files if name not in present)
        return text + (f'; {missing / GIB:.2f} GiB are to be fetched' if missing else '')

    def weight_files(self, part: str, parameters: Iterable[str]) -> dict[str, list[str]]:
        """The files that hold ``parameters`` of a part, each with those that it holds.

        Raises:
            UnusableInputError: When there are no weights in a format that is read, or some are missing.
        """
        for variant in _VARIANTS:
            index = f'{part}/{_STEM}.safetensors.index{variant}.json'
            if index in self._sizes:
                where = json.loads((self.folder(index) / index).read_text())['weight_map']
                if missing := [name for name in parameters if name not in where]:
                    raise UnusableInputError(f'{self.pretrained}/{index} names no file for {missing[0]!r}.')
                files: dict[str, list[str]] = {}
                for name in parameters:
                    files.setdefault(f'{part}/{where[name]}', []).append(name)
                return dict(sorted(files.items()))
            for suffix in ('safetensors', 'bin'):
                if (name := f'{part}/{_STEM}{variant}.{suffix}') in self._sizes:
                    return {name: list(parameters)}
        found = [name for name in self._sizes if name.startswith(f'{part}/')]
        raise UnusableInputError(
            f'teacher.pretrained={self.pretrained!r} has no weights in {part} that can be read: expected '
            f'{_STEM}.safetensors, found {", ".join(found) or "nothing"}.'
        )

    def load(self, part: str, network: nn.Module) -> None:
        """Read the parameters that ``network`` still has, in their stored precision, memory-mapped."""
        needed = [name for name, _ in network.named_parameters()]
        files = self.weight_files(part, needed)
        folder = self.folder(*files)
        for name, parameters in files.items():
            network.load_state_dict(load_weights(folder / name, parameters), strict=False, assign=True)
        network.requires_grad_(False)
