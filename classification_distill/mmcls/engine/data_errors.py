"""Which sample of a data set could not be loaded."""

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..datasets.sample_errors import name_errors


@HOOKS.register_module()
class DataErrorHook(Hook):
    """Let every error of a data set's pipeline name the sample's files."""

    def before_train(self, runner) -> None:
        name_errors(runner.train_dataloader.dataset)

    def before_val(self, runner) -> None:
        name_errors(runner.val_dataloader.dataset)

    def before_test(self, runner) -> None:
        name_errors(runner.test_dataloader.dataset)
