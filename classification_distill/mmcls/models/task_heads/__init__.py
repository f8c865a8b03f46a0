from .base import BaseTaskHead
from .least_squares import LeastSquaresHead
from .pooled_mlp import PooledMLPHead
from .view_agreement import ViewAgreementHead

__all__ = ['BaseTaskHead', 'LeastSquaresHead', 'PooledMLPHead', 'ViewAgreementHead']
