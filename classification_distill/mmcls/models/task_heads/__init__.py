from .pooled_mlp import PooledMLPHead

__all__ = ['PooledMLPHead']
