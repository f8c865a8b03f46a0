"""What a command line says of a config: ``--cfg-options KEY=VALUE ...``."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from .errors import UnusableInputError


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """What ``--cfg-options KEY=VALUE ...`` says, each value as typed.

    Numbers, ``None``, ``true`` and ``false``, lists and tuples in brackets, and lists without are read as such; a text
    keeps its blanks, and in quotes whatever it holds.

    Raises:
        UnusableInputError: When one has no ``=``.

    Examples:
        >>> parse_options(['lr=1e-3', 'distilled=my run/epoch_1.pth', 'steps=100,150'])
        {'lr': 0.001, 'distilled': 'my run/epoch_1.pth', 'steps': [100, 150]}
    """
    options = {}
    for text in texts:
        key, separator, value = text.partition('=')
        if not separator:
            raise UnusableInputError(f'--cfg-options {text}: expected KEY=VALUE.')
        options[key.strip()] = _parse_value(value)
    return options


def _parse_value(text: str) -> Any:
    text = text.strip()
    parts = _split(text)
    if len(parts) > 1:
        return [_parse_value(part) for part in parts]
    if text[:1] + text[-1:] in ('[]', '()'):
        values = [_parse_value(part) for part in _split(text[1:-1]) if part.strip()]
        return values if text[0] == '[' else tuple(values)
    if len(text) > 1 and text[0] == text[-1] and text[0] in '\'"':
        return text[1:-1]
    for read in (int, float):
        with suppress(ValueError):
            return read(text)
    if text == 'None':  # 'none' is a word, as of noise and baseline
        return None
    return {'true': True, 'false': False}.get(text.lower(), text)


def _split(text: str) -> list[str]:
    """At the commas that are in no brackets and no quotes."""
    parts, depth, quote = [''], 0, ''
    for letter in text:
        if quote or letter in '\'"':
            quote = '' if letter == quote else quote or letter
        else:
            depth += (letter in '([{') - (letter in ')]}')
        if letter == ',' and not depth and not quote:
            parts.append('')
        else:
            parts[-1] += letter
    return parts
