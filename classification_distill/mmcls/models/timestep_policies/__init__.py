from .base import BaseTimestepPolicy, TimestepSample
from .decaying import DecayingPolicy
from .fixed import FixedPolicy
from .reinforce import ReinforcePolicy
from .uniform import UniformPolicy

__all__ = [
    'BaseTimestepPolicy',
    'DecayingPolicy',
    'FixedPolicy',
    'ReinforcePolicy',
    'TimestepSample',
    'UniformPolicy',
]
