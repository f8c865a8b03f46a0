"""Networks that were pickled with their source, as NVlabs publishes its own: read as data, the source left alone."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from .errors import MissingFileError
from .weights import CheckpointError, load_storage


def load_module_pickle(path: str | Path) -> dict:
    """Read a pickle of modules as nested dicts.

    NVlabs' classes pickle themselves with the source of their module, which their own loader executes. Here a module
    becomes a dict of its attributes, with its ``class_name``; nothing in the file is run.

    Args:
        path: The file, such as ``edm-imagenet-64x64-cond-adm.pkl``.

    Raises:
        FileNotFoundError: When there is no such file.
        CheckpointError: When it is damaged, or holds more than modules, tensors and plain values.
    """
    if not Path(path).is_file():
        raise MissingFileError(f'There is no file {str(path)!r} in {Path.cwd()}.')
    try:
        with open(path, 'rb') as file:
            return _DataUnpickler(file).load()
    except Exception as error:  # bytes that are no such pickle may end anywhere
        raise CheckpointError(
            f'{path} is damaged, or holds more than modules, tensors and plain values; nothing in it was run. '
            f'({type(error).__name__}: {str(error).partition(chr(10))[0]})'
        ) from error


def module_tensors(module: dict, prefix: str = '') -> Iterator[tuple[str, Tensor]]:
    """The parameters of a module that was read, by their names in its state dict."""
    for name, parameter in module['_parameters'].items():
        if parameter is not None:
            yield prefix + name, parameter
    for name, child in module['_modules'].items():
        if child is not None:
            yield from module_tensors(child, f'{prefix}{name}.')


class _DataUnpickler(pickle.Unpickler):
    """Knows the names that such a file needs, and gives each a harmless meaning."""

    def __init__(self, file):
        super().__init__(file)
        self._known = _stand_ins()

    def find_class(self, module: str, name: str) -> Callable:
        if (module, name) not in self._known:
            raise pickle.UnpicklingError(f'{module}.{name} is not read')
        return self._known[module, name]


def _stand_ins() -> dict[tuple[str, str], Callable]:
    """What stands for each name; made anew for each file, so that what a file does to them ends with it."""

    class Attributes(dict):
        def __setstate__(self, state: dict) -> None:
            self.update(state)

    class Unread:
        """A scalar of NumPy's, of which no network needs one."""

        def __init__(self, *args):
            pass

        def __setstate__(self, state) -> None:
            pass

    def module(meta: dict) -> Attributes:
        return Attributes(meta['state'], class_name=meta['class_name'])

    def tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *_) -> Tensor:
        return torch.as_strided(storage, size, stride, offset)  # which refuses what lies outside

    return {
        ('torch_utils.persistence', '_reconstruct_persistent_obj'): module,
        ('torch._utils', '_rebuild_parameter'): lambda data, *_: data,
        ('torch._utils', '_rebuild_tensor_v2'): tensor,
        ('torch.storage', '_load_from_bytes'): lambda data: load_storage(data),
        ('numpy', 'dtype'): Unread,
        ('numpy.core.multiarray', 'scalar'): Unread,  # NumPy 1's name
        ('numpy._core.multiarray', 'scalar'): Unread,
        ('collections', 'OrderedDict'): Attributes,
        ('dnnlib.util', 'EasyDict'): Attributes,
        ('torch.nn.modules.container', 'ModuleDict'): Attributes,
        ('torch.nn.modules.container', 'ModuleList'): Attributes,
        ('torch.nn.modules.container', 'Sequential'): Attributes,
    }
