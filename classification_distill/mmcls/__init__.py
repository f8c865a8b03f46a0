"""What RepFusion adds to MMPretrain; importing it registers every part.

``mmcls`` is the name of the published code's package; MMClassification itself is MMPretrain today.
"""

from importlib import import_module

from .quiet import import_quietly

import_quietly('mmpretrain.datasets', 'mmpretrain.models')

from . import datasets, engine, models, visualization  # noqa: E402, F401

_APIS = {
    'load_teacher': 'teacher',
    'probe': 'probe',
    'distill': 'distill',
    'load_student': 'student',
    'publish': 'publish',
    'transfer': 'transfer',
    'report': 'report',
    'embed': 'embed',
    'neighbours': 'neighbours',
    'classify': 'classify',
}
__all__ = list(_APIS)


def __getattr__(name: str):
    """The functions of ``apis``, whose libraries are imported when one of them is first asked for."""
    if name not in _APIS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'.apis.{_APIS[name]}', __name__), name)
