"""The one family of errors that a person, and not a bug, makes."""


class RepFusionError(Exception):
    """What was given cannot be used; the message says what was expected and what to change.

    Its children are also the built-in errors that they amount to.
    """


class UnusableInputError(RepFusionError, ValueError):
    """An argument, config or folder that cannot be used."""


class MissingFileError(RepFusionError, FileNotFoundError):
    """A file or folder that is not there."""
