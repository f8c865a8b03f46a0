"""Which class of the teacher each label of the data set is."""

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..weights import unwrap


@HOOKS.register_module()
class TeacherClassesHook(Hook):
    """Tell a teacher with ``class_labels='true'`` the data set's classes, of which it learns its own by WordNet id.

    The training's are told again after each validation, whose data set may have others, or another order.
    """

    def __init__(self):
        self._trains = False

    def before_train(self, runner) -> None:
        self._trains = True
        self._tell(runner, runner.train_dataloader)

    def after_val(self, runner) -> None:
        if self._trains:
            self._tell(runner, runner.train_dataloader)

    def before_val(self, runner) -> None:
        self._tell(runner, runner.val_dataloader)

    def before_test(self, runner) -> None:
        self._tell(runner, runner.test_dataloader)

    @staticmethod
    def _tell(runner, dataloader) -> None:
        model = unwrap(runner.model)
        model.teacher.class_conditioning.set_dataset_classes(dataloader.dataset.metainfo['classes'])
