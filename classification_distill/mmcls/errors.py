"""The one family of errors that a person, and not a bug, makes; and the end of a command by Ctrl-C."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class RepFusionError(Exception):
    """What was given cannot be used; the message says what was expected and what to change.

    Its children are also the built-in errors that they amount to.
    """


class UnusableInputError(RepFusionError, ValueError):
    """An argument, config or folder that cannot be used."""


class MissingFileError(RepFusionError, FileNotFoundError):
    """A file or folder that is not there."""


@contextmanager
def told(
    end: Callable[[str], None] = sys.exit, named: bool = False, also: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """End a command with a sentence: of an error of this family, or, with a shell's exit code 130, by Ctrl-C.

    Args:
        end: Is given the sentence of an error.
        named: Whether the sentence begins with the error's name.
        also: Further errors whose text is one.
    """
    try:
        yield
    except (RepFusionError, *also) as error:
        end(f'{type(error).__name__}: {error}' if named else str(error))
    except KeyboardInterrupt:
        print('Stopped by Ctrl-C. Run the same command again.', file=sys.stderr)
        sys.exit(130)
