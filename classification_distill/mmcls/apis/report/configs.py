"""Configs side by side: only what differs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .runs import REPETITION, Group


@dataclass
class Difference:
    """A setting that is not the same in all configs.

    Attributes:
        keys: Where it stands, ``model.backbone.depth``; several where the same value stands at several places.
        values: Of each group, as one writes it; empty where the config does not have it.
    """

    keys: list[str]
    values: list[str]


def differences(groups: Sequence[Group]) -> list[Difference]:
    """Of the first run of each group; seeds, folders and how it was launched aside."""
    flat = [dict(flatten(group.first.config)) for group in groups]
    rows: dict[tuple[str, ...], Difference] = {}
    for key in dict.fromkeys(key for settings in flat for key in settings):
        values = tuple(settings.get(key, '') for settings in flat)
        if len(set(values)) > 1 and key.split('.')[0] not in REPETITION:
            rows.setdefault(values, Difference([], list(values))).keys.append(key)
    return sorted(rows.values(), key=lambda row: (not row.keys[0].startswith('model.'), row.keys[0]))


def flatten(node, path: str = '') -> Iterator[tuple[str, str]]:
    """Every setting as ``(dotted path, value as text)``. Lists of plain values stay whole."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from flatten(value, f'{path}.{key}' if path else str(key))
    elif isinstance(node, list | tuple) and any(isinstance(item, dict) for item in node):
        for index, item in enumerate(node):
            yield from flatten(item, f'{path}.{index}')
    else:
        yield path, repr(node)
