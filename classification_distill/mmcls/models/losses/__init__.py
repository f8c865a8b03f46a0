from .at import ATLoss
from .base import BaseDistillLoss
from .crd import CRDLoss
from .hint import HintLoss
from .info_nce import InfoNCELoss
from .logit_kd import LogitKDLoss
from .rkd import RKDLoss

__all__ = ['ATLoss', 'BaseDistillLoss', 'CRDLoss', 'HintLoss', 'InfoNCELoss', 'LogitKDLoss', 'RKDLoss']
