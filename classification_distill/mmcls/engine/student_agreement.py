"""What can be said of a student while it learns where no image has a label."""

import copy

import torch.nn.functional as F
from mmpretrain.registry import HOOKS
from torch import Tensor

from ..datasets.draws import seeded
from ..datasets.samples import load_spread
from ..models.classifiers import RepFusion
from ..models.images import to_pixels
from .measured_student import MeasuredStudentHook, student_features
from .representation import effective_rank, neighbour_agreement
from .student_quality import PIXELS
from .terminal import AT_TERMINAL


@HOOKS.register_module()
class StudentAgreementHook(MeasuredStudentHook):
    """Augment some training images twice, and see whether their neighbours by the student's features stay the same.

    The log has the agreement of the neighbours with its standard error, and the effective rank of the features; the
    visualizer ``quality/student_agreement`` in % and ``quality/student_rank``; both also of the pixels. Neither says
    that the features tell what one wants to know: pixels agree, too. An agreement that stays at the pixels', and a rank
    that falls to a few, say that something is wrong.

    Args:
        interval: Epochs from one measurement to the next, or iterations where the training counts those; its end is
            measured in any case.
        num_images: Images that are augmented twice.
    """

    def __init__(self, interval: int = 10, num_images: int = 500):
        super().__init__(interval)
        self.num_images = num_images
        self._views: list[Tensor] = []

    def _pair(self, runner, model: RepFusion) -> list[Tensor]:
        """Both views, read when they are first looked at: a dry run does without."""
        self._views = self._views or [self._draw(runner, model, seed) for seed in (0, 1)]
        return self._views

    def _draw(self, runner, model: RepFusion, seed: int) -> Tensor:
        """A view of each image, ``(N, 3, H, W)`` in [0, 255], the same in every run."""
        with seeded(seed):
            _, batch = load_spread(runner.train_dataloader, self.num_images)
            preprocessor = copy.copy(model.data_preprocessor)
            preprocessor.num_views = None  # of fixed views, both would often be the same one
            return to_pixels(preprocessor(batch, training=True)['inputs'], preprocessor).cpu()

    def measure_start(self, runner, model: RepFusion) -> None:
        views = self._pair(runner, model)
        self._compare(runner, 'pixels', *(F.adaptive_avg_pool2d(view, PIXELS).flatten(1) for view in views))

    def measure(self, runner, model: RepFusion) -> None:
        self._compare(runner, 'student', *(student_features(model, view) for view in self._pair(runner, model)))

    def _compare(self, runner, who: str, first: Tensor, second: Tensor) -> None:
        (agreement, error), rank = neighbour_agreement(first, second), effective_rank(first)
        scalars = {'agreement': agreement, 'agreement_error': error, 'rank': rank}
        runner.visualizer.add_scalars({f'quality/{who}_{name}': x for name, x in scalars.items()}, step=runner.iter)
        runner.logger.info(
            f'Neighbours by the {who}, iteration {runner.iter}: {agreement:.1f} % (standard error {error:.1f}) are the '
            f'same in another view of the images; effective rank {rank:.1f} of {first.shape[1]}.',
            extra=AT_TERMINAL,
        )
