"""Holding of frozen networks, which nothing that trains may reach."""

from torch import nn


class _Unregistered:
    """Holds modules out of reach of ``parameters()``, ``state_dict()``, ``train()`` and ``copy.deepcopy``."""

    def __init__(self, **modules: nn.Module):
        self.modules = nn.ModuleDict(modules).requires_grad_(False).eval()

    def __deepcopy__(self, memo: dict) -> '_Unregistered':
        return self


class FrozenHolder(nn.Module):
    """A module without parameters, buffers or children of its own that holds frozen networks.

    No optimizer, checkpoint, EMA copy or DDP bucket ever has their weights; only ``.to()`` and its relatives reach
    them. They always are in ``eval()``.
    """

    def hold(self, **modules: nn.Module) -> None:
        """Freeze ``modules`` and keep them as ``self.held[name]``."""
        self._unregistered = _Unregistered(**modules)

    @property
    def held(self) -> nn.ModuleDict:
        """nn.ModuleDict: The frozen networks by name."""
        return self._unregistered.modules

    def _apply(self, fn, recurse: bool = True):
        self.held._apply(fn, recurse)
        return super()._apply(fn, recurse)
