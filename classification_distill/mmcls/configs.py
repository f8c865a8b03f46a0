"""Configs as data: walked, read, written as code; and what they say of a part's ``type``.

A type is a name, a dotted path, or, in MMEngine's pure Python configs, the class.
"""

import ast
import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from .errors import MissingFileError, UnusableInputError

_PACKAGE = Path(__file__).resolve().parent
# Of the trees and tools: the repository or, where the package was installed as a wheel, what setup.py put into it.
ROOT = next(folder for folder in (_PACKAGE / '.mim', _PACKAGE.parents[1]) if folder.is_dir())


RUNNER_READS = inspect.signature(Runner).parameters


class RunConfig(Config):
    """MMEngine's, laid out once: for the log, its files and every checkpoint, which would take 0.1 to 0.2 s each."""

    _laid_out = ('', '')

    @property
    def pretty_text(self) -> str:
        content = repr(self)
        if self._laid_out[0] != content:
            object.__setattr__(self, '_laid_out', (content, super().pretty_text))
        return self._laid_out[1]


def load_config(path: str | Path) -> RunConfig:
    """Read a config file. Variables that it sets anew take effect where the files below it have used them.

    Raises:
        MissingFileError: When there is none.
        UnusableInputError: When such a variable is a number; see ``follow_variables``.
    """
    if not Path(path).is_file():
        raise MissingFileError(f'There is no config {str(path)!r} in {Path.cwd()}.')
    config = RunConfig()  # Config.fromfile builds a Config, whatever it is called of
    config.__setstate__(Config.fromfile(path).__getstate__())
    for below in _files_below(Path(path)):
        follow_variables(config, Config.fromfile(below, import_custom_modules=False))
    return config


def _files_below(path: Path) -> Iterator[Path]:
    """The files that a config names as ``_base_``, and those that they name; those of a library are left out."""
    for node in ast.parse(path.read_text()).body if path.suffix == '.py' else ():
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '_base_':
            names = ast.literal_eval(node.value)
            for name in [names] if isinstance(names, str) else names:
                if '::' not in name:
                    yield path.parent / name
                    yield from _files_below(path.parent / name)


def follow_variables(config: Config, before: Mapping) -> None:
    """Give the variables of a config effect where they were used while it was read.

    A name at the top of a config that the Runner does not read, such as ``data_root``, is only a variable: setting it
    later changes nothing by itself. Every field that still has its former value gets the new one.

    Args:
        config: The config, with the variables' values of now.
        before: Values of then.

    Raises:
        UnusableInputError: When a variable is a number, which fields may have by chance: the message names them.
    """
    for name, old in before.items():
        new = config.get(name)
        if name in RUNNER_READS or isinstance(old, bool | None) or new == old or not old:
            continue
        found = [field.lstrip('.') for field, value in walk(config.to_dict()) if value == old]
        fields = [field for field in found if field != name and not field.startswith(f'{name}.')]
        if fields and isinstance(old, int | float):
            raise UnusableInputError(
                f'{name}={new!r}: {name} is a variable, which was {old!r} when the config was read. Set the fields '
                f'that were to follow it, among {", ".join(fields[:8])}.'
            )
        config.merge_from_dict(dict.fromkeys(fields, new))


def walk(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Every value in a config, itself first, with its field as ``--cfg-options`` names it: ``model.neck.0.type``."""
    yield path, node
    parts = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, part in parts:
        yield from walk(part, f'{path}.{key}')


def find_class(part: str, config: Mapping, registry: Registry = MODELS) -> Callable:
    """The class that the config of a part names or holds; ``registry.get`` takes names alone, and may give None.

    Args:
        part: Field of the config, for the message.
        config: Config of the part, with ``type``.
        registry: Where names are looked up.

    Raises:
        ValueError: When there is no such type.
    """
    kind = config['type']
    if callable(kind):
        return kind
    found = registry.get(kind) if isinstance(kind, str) else None
    if found is None:
        near = difflib.get_close_matches(str(kind), registry.module_dict, n=3)
        raise UnusableInputError(f'{part}.type={kind!r} is not registered. Near ones: {", ".join(near) or "none"}.')
    return found


def is_a(config: Mapping, classes: type | tuple[type, ...], registry: Registry = MODELS) -> bool:
    """Whether a config's type is one of ``classes`` or derived from one; not, where it has none or one unknown."""
    kind = config.get('type')
    found = registry.get(kind) if isinstance(kind, str) else kind
    return isinstance(found, type) and issubclass(found, classes)


def type_name(config: Mapping) -> str:
    """The name of a config's type without scope or module, nothing imported: to be shown, or looked up in a table."""
    kind = config.get('type')
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', str(kind))


def loads_checkpoint(init_cfg: Mapping) -> bool:
    """Whether this is an ``init_cfg`` that starts a module from a file."""
    return type_name(init_cfg) in ('Pretrained', 'PretrainedInit')  # as registered, and as the class is called


# Of the commands that take a checkpoint, that one alone takes a config beside it.
GIVE_CONFIG = 'Give it by --config of tools/publish_student.py.'


def parse_config(text: str, path: Path) -> dict:
    """Read the config that MMEngine wrote into a checkpoint, as data: MMEngine itself would execute it.

    Raises:
        ValueError: When there is none, or it holds more than numbers, strings, lists and ``dict(...)``.
    """
    try:
        settings = {
            target.id: ast.literal_eval(_DictCalls().visit(statement.value))
            for statement in ast.parse(text).body
            for target in statement.targets
        }
    except (ValueError, SyntaxError, AttributeError) as error:
        raise UnusableInputError(f'The config that {path} keeps is not plain data. {GIVE_CONFIG}') from error
    if not settings:
        raise UnusableInputError(f'{path} keeps no config. {GIVE_CONFIG}')
    return settings


class _DictCalls(ast.NodeTransformer):
    """``dict(a=1)`` and ``dict({'a': 1})`` as the literal ``{'a': 1}``; ``Ellipsis`` as the literal ``...``.

    A class, which MMEngine writes as ``package.module.Name``, is that string.
    """

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Constant(ast.unparse(node))

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(...) if node.id == 'Ellipsis' else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict':
            return node
        if node.args:
            return node.args[0]
        return ast.Dict([ast.Constant(item.arg) for item in node.keywords], [item.value for item in node.keywords])


def as_code(value) -> str:
    """A config as one writes it, ``dict(type=...)`` first."""
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: item[0] != 'type')
        if all(isinstance(key, str) and key.isidentifier() for key in value):
            return f'dict({", ".join(f"{key}={as_code(item)}" for key, item in items)})'
        return f'{{{", ".join(f"{key!r}: {as_code(item)}" for key, item in items)}}}'
    if isinstance(value, list):
        return f'[{", ".join(map(as_code, value))}]'
    return repr(value)


def training_set(config: Mapping) -> Mapping:
    """The config of a training data set, within its wrappers."""
    dataset = config.get('train_dataloader', {}).get('dataset', {})
    while 'pipeline' not in dataset:
        inner = dataset.get('dataset') or next(iter(dataset.get('datasets', ())), None)  # of several, the first
        if not isinstance(inner, Mapping):
            break
        dataset = inner
    return dataset


def find_preprocessor(config: Mapping) -> Mapping:
    """The config of the data preprocessor, wherever MMEngine takes it from."""
    return config['model'].get('data_preprocessor') or config.get('data_preprocessor') or {}


def find_image_size(config: Mapping, augmented: bool = True) -> int | None:
    """Side in pixels of the square images that a training gets, where the config says so.

    Args:
        augmented: Of these, or else of the images as the data set gives them, before a batch is augmented.
    """
    keys = {
        'RandomCrop': 'crop_size',
        'CenterCrop': 'crop_size',
        'RandomResizedCrop': 'scale',
        'Resize': 'scale',
        'BatchResizedCrop': 'size',
    }
    dataset = training_set(config)
    augments = find_preprocessor(config).get('augments', []) if augmented else []
    for transform in [*reversed(augments), *reversed(dataset.get('pipeline', []))]:
        if key := keys.get(type_name(transform)):
            size = transform.get(key)
            sides = {size} if isinstance(size, int) else set(size or ())
            return sides.pop() if len(sides) == 1 else None
    return 32 if type_name(dataset) in ('CIFAR10', 'CIFAR100') else None
