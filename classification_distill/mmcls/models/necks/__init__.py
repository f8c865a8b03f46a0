from .token_maps import TokenMaps

__all__ = ['TokenMaps']
