"""A last batch of one image, which batch norm cannot be trained on where a map is 1x1."""

from collections.abc import Callable

from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from ..errors import UnusableInputError
from ..weights import unwrap


@HOOKS.register_module()
class LastBatchHook(Hook):
    """Where the last batch of an epoch is one image, see in the first step what batch norm would get of it.

    Raises:
        UnusableInputError: After the first step, when it would be a single value.
    """

    def __init__(self):
        self._values: dict[str, int] = {}  # that each batch norm saw of a channel
        self._handles: list = []

    def before_train(self, runner) -> None:
        if not _leaves_one(runner.train_dataloader):
            return
        for name, module in unwrap(runner.model).named_modules():
            if isinstance(module, _BatchNorm) and not (isinstance(module, nn.SyncBatchNorm) and runner.distributed):
                self._handles.append(module.register_forward_pre_hook(self._watch(name)))

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._handles:
            self.check(runner.train_dataloader, len(data_batch['inputs']))

    def check(self, loader: DataLoader, images: int) -> None:
        """After a step of so many images: see ``LastBatchHook``."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if single := [name for name, values in self._values.items() if values <= images]:
            raise UnusableInputError(
                f'{len(loader.dataset)} images in batches of {loader.batch_size} leave one for the last batch of an '
                f'epoch, of which {single[0]} sees a single value: batch norm cannot be trained on that. Set '
                'train_dataloader.drop_last=True, or another batch_size.'
            )

    def _watch(self, name: str) -> Callable:
        def watch(module: nn.Module, args: tuple) -> None:
            if module.training and args:
                self._values[name] = args[0].numel() // args[0].shape[1]

        return watch


def _leaves_one(loader: DataLoader) -> bool:
    sampler = getattr(loader, 'sampler', None)
    if not isinstance(sampler, DefaultSampler) or loader.drop_last or not loader.batch_size:
        return False
    return len(sampler) % loader.batch_size == 1
