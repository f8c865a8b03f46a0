"""How good the student is while it learns, measured on labelled images."""

from pathlib import Path

import torch
import torch.nn.functional as F
from mmpretrain.registry import HOOKS
from torch import Tensor

from ..datasets.draws import seeded
from ..datasets.image_folder import load_classes
from ..datasets.samples import collect, has, load_spread
from ..errors import UnusableInputError
from ..models.classifiers import RepFusion
from ..models.images import to_pixels
from .measured_student import BATCH, MeasuredStudentHook, student_features
from .representation import effective_rank, linear_probe, nearest_neighbours
from .terminal import AT_TERMINAL

NUM_VALIDATION = 1000
PIXELS = 8  # side to which images are averaged where their pixels are the features


@HOOKS.register_module()
class StudentQualityHook(MeasuredStudentHook):
    """Classify labelled images by the student's features: by neighbours and by a linear probe, which train no network.

    Beside it stand what there was before, by the pixels and by the student at its start, and what there is to learn, by
    the teacher at the timesteps that its policy takes. The log and the visualizer have them in %, as
    ``quality/student_knn`` and, its standard error, ``quality/student_knn_error``; and ``quality/student_rank``, the
    effective rank of the features.

    Args:
        folder: Folder of labelled images, a subfolder a class, of which some hundreds are enough; by default 1,000
            images of the validation split.
        interval: Epochs from one measurement to the next, or iterations where the training counts those; its end is
            measured in any case.

    Raises:
        UnusableInputError: When the folder has no two classes of two images each, the config has neither a folder nor a
            labelled validation split, or the model is no RepFusion.
    """

    def __init__(self, folder: str | None = None, interval: int = 10):
        super().__init__(interval)
        self.folder = folder

    def prepare(self, runner, model: RepFusion) -> None:
        if self.folder:
            self.pixels, self.labels, _ = load_classes(Path(self.folder), model.image_size)
        else:
            self.pixels, self.labels = _validation_images(runner, model)
        runner.logger.info(
            f'The student is measured on {len(self.labels):,} images of {len(self.labels.unique())} classes in '
            f'{self.folder or "the validation split"}.'
        )

    def measure_start(self, runner, model: RepFusion) -> None:
        self._classify(runner, 'pixels', F.adaptive_avg_pool2d(self.pixels.float(), PIXELS).flatten(1))
        if model.teacher.class_conditioning.mode != 'true':
            self._classify(runner, 'teacher', self._teacher_features(model))

    def measure(self, runner, model: RepFusion) -> None:
        self._classify(runner, 'student', student_features(model, self.pixels))

    @torch.no_grad()
    def _teacher_features(self, model: RepFusion) -> Tensor:
        """Averages of its layers, one after the other."""
        device, policy = model.data_preprocessor.device, model.timestep_policy
        training = policy.training
        policy.eval()
        parts = []
        with seeded(0):
            for batch in self.pixels.split(BATCH):
                images = 2 * batch.to(device).float() / 255 - 1
                features = model.teacher(images, policy.sample(images).t)
                parts.append(torch.cat([f.float().mean((2, 3)).cpu() for f in features.values()], 1))
        policy.train(training)
        return torch.cat(parts)

    def _classify(self, runner, who: str, features: Tensor) -> None:
        found = {'knn': nearest_neighbours(features, self.labels), 'linear': linear_probe(features, self.labels)}
        scalars = {f'quality/{who}_{name}': value for name, (value, _) in found.items()}
        scalars |= {f'quality/{who}_{name}_error': error for name, (_, error) in found.items()}
        if who == 'student':
            scalars['quality/student_rank'] = effective_rank(features)
        runner.visualizer.add_scalars(scalars, step=runner.iter)
        text = '; '.join(f'{name} {value:.1f} % (standard error {error:.1f})' for name, (value, error) in found.items())
        runner.logger.info(f'Classified by the {who}, iteration {runner.iter}: {text}.', extra=AT_TERMINAL)


def _validation_images(runner, model: RepFusion) -> tuple[Tensor, Tensor]:
    """RGB images ``(N, 3, H, W)`` in [0, 255] and classes ``(N,)`` of the validation split, spread over it."""
    if runner.val_loop is None:
        raise UnusableInputError(
            'StudentQualityHook: the config has no val_dataloader; give a folder of labelled images.'
        )
    _, batch = load_spread(runner.val_dataloader, NUM_VALIDATION)
    data = model.data_preprocessor(batch, training=False)
    if not has(data['data_samples'], 'gt_label'):
        raise UnusableInputError(
            'StudentQualityHook: the validation split has no classes; give a folder of labelled images.'
        )
    pixels = to_pixels(data['inputs'], model.data_preprocessor)
    return pixels.cpu(), collect(data['data_samples'], 'gt_label').cpu()
