"""Imports of libraries that tell of parts which are not used here."""

import io
import warnings
from contextlib import redirect_stdout
from importlib import import_module


def import_quietly(*modules: str) -> None:
    """Import modules; what they print, of an operator and of a data set's library that are missing, is not shown."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')
        for module in modules:
            import_module(module)
