"""What a config says of a part's ``type``: a name, a dotted path, or, in MMEngine's pure Python configs, the class."""

import difflib
from collections.abc import Callable, Mapping

from mmengine.registry import Registry
from mmpretrain.registry import MODELS


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
        raise ValueError(f'{part}.type={kind!r} is not registered. Near ones: {", ".join(near) or "none"}.')
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
