from .base import BaseDistiller
from .kd import KDClassifier
from .repfusion import RepFusion

__all__ = ['BaseDistiller', 'KDClassifier', 'RepFusion']
