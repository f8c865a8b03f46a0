from .base import BaseTaskHead
from .dense import DenseSegHead, HeatmapHead
from .least_squares import LeastSquaresHead
from .pooled_mlp import PooledMLPHead
from .view_agreement import ViewAgreementHead

__all__ = ['BaseTaskHead', 'DenseSegHead', 'HeatmapHead', 'LeastSquaresHead', 'PooledMLPHead', 'ViewAgreementHead']
