"""``--cfg-options`` beyond what MMEngine does with them."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config


def apply_cfg_options(config: Config, options: Mapping[str, Any]) -> None:
    """Merge the settings into a config, as ``Config.merge_from_dict``.

    ``distilled`` at the top of a config is only a variable, which has been used when the config is read: here the
    ``init_cfg`` that was made of it is set, too.

    Raises:
        ValueError: For a dict, which MMEngine would take for a string; or for ``distilled`` where nothing was made of
            it, so that the model would start from scratch.
    """
    for key, value in options.items():
        if isinstance(value, str) and value.startswith(('dict(', '{')):
            raise ValueError(
                f'--cfg-options {key}={value}: dicts are not read here. Give their parts, as in {key}.type=NAME; with '
                f'{key}._delete_=True nothing is left of what the config says.'
            )
    if 'distilled' in options:
        fields = [field for field, value in _strings(config.model, 'model') if value == config.get('distilled')]
        if not fields:
            raise ValueError(
                f'--cfg-options distilled={options["distilled"]}: the model of this config starts from no student. '
                'Take one that ends in repfusion or repfussion, or set model.backbone.init_cfg.'
            )
        config.merge_from_dict(dict.fromkeys(fields, options['distilled']))
    config.merge_from_dict(dict(options))


def _strings(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _strings(value, f'{path}.{key}')
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _strings(value, f'{path}.{index}')
