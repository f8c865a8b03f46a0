"""When a training looks at its student, and the features that it looks at."""

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor, nn

from ..errors import UnusableInputError
from ..models.classifiers import RepFusion
from ..models.images import normalize
from ..weights import unwrap

BATCH = 64


class MeasuredStudentHook(Hook):
    """Looks at the student of a RepFusion before the first iteration, every ``interval`` and at the end.

    Args:
        interval: Epochs, or iterations where the training counts those.

    Raises:
        UnusableInputError: When the model is no RepFusion.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 10):
        self.interval = interval

    def prepare(self, runner, model: RepFusion) -> None:
        """Called before the training."""

    def measure_start(self, runner, model: RepFusion) -> None:
        """Called before the first iteration; not where a training is resumed, since this was measured at its start."""

    def measure(self, runner, model: RepFusion) -> None:
        """Called each time."""
        raise NotImplementedError

    @master_only
    def before_train(self, runner) -> None:
        model = unwrap(runner.model)
        if not isinstance(model, RepFusion):
            raise UnusableInputError(
                f'{type(self).__name__} measures the student of a RepFusion, and the model is a {type(model).__name__}.'
            )
        self.by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        self.prepare(runner, model)

    @master_only
    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        if runner.iter == 0:
            self.measure_start(runner, unwrap(runner.model))
            self.measure(runner, unwrap(runner.model))

    @master_only
    def after_train_epoch(self, runner) -> None:
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self.measure(runner, unwrap(runner.model))

    @master_only
    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        due = self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)
        if due and not self.by_epoch:
            self.measure(runner, unwrap(runner.model))


@torch.no_grad()
def student_features(model: RepFusion, pixels: Tensor) -> Tensor:
    """Averages ``(N, C)`` of the student's last map, on the CPU.

    Args:
        model: Whose student it is.
        pixels: RGB images ``(N, 3, H, W)`` in [0, 255], as in any training that is let run.
    """
    backbone: nn.Module = model.student['backbone']
    preprocessor = model.data_preprocessor
    training = backbone.training
    backbone.eval()
    parts = []
    for batch in pixels.split(BATCH):
        images = normalize(batch.to(preprocessor.device).float(), preprocessor)
        # Not as compiled: that would compile it once more, for batches of this size.
        parts.append(backbone.forward(images)[-1].float().flatten(2).mean(2).cpu())  # of maps, or of tokens
    backbone.train(training)
    return torch.cat(parts)
