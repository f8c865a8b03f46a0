"""What RepFusion adds to MMPretrain; importing it registers every part.

``mmcls`` is the name of the published code's package; MMClassification itself is MMPretrain today.
"""

import io
import warnings
from contextlib import redirect_stdout
from importlib import import_module

with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
    # They tell of an operator and of a data set's library that are missing, which nothing here needs.
    warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')
    import mmpretrain.datasets
    import mmpretrain.models  # noqa: F401

from . import datasets, engine, models, visualization  # noqa: F401

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
