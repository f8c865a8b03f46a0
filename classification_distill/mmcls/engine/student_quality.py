"""How good the student is while it learns, measured on labelled images."""

from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from ..datasets.image_folder import load_classes
from ..errors import UnusableInputError
from ..models.classifiers import RepFusion
from ..models.images import normalize
from ..weights import unwrap
from .representation import effective_rank, linear_probe, nearest_neighbours
from .terminal import AT_TERMINAL

BATCH = 64
PIXELS = 8  # side to which images are averaged where their pixels are the features


@HOOKS.register_module()
class StudentQualityHook(Hook):
    """Classify labelled images by the student's features: by neighbours and by a linear probe, which train no network.

    Beside it stand what there was before, by the pixels and by the student at its start, and what there is to learn, by
    the teacher at the timesteps that its policy takes. The log has them with standard errors, and the visualizer
    ``quality/student_knn`` and so on, in %; ``quality/student_rank`` is the features' effective rank.

    Args:
        folder: Folder of labelled images, a subfolder a class; some hundreds are enough.
        interval: Epochs from one measurement to the next, or iterations where the training counts those; its end is
            measured in any case.

    Raises:
        UnusableInputError: When the folder has no two classes of two images each, or the model is no RepFusion.
    """

    priority = 'LOW'

    def __init__(self, folder: str, interval: int = 10):
        self.folder = folder
        self.interval = interval

    @master_only
    def before_train(self, runner) -> None:
        model = unwrap(runner.model)
        if not isinstance(model, RepFusion):
            raise UnusableInputError(
                f'StudentQualityHook measures the student of a RepFusion, and the model is a {type(model).__name__}.'
            )
        self.by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        self.pixels, self.labels, classes = load_classes(Path(self.folder), model.image_size)
        runner.logger.info(
            f'The student is measured on {len(self.labels):,} images of {len(classes)} classes in {self.folder}.'
        )

    @master_only
    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        if runner.iter:  # so also where the training is resumed, and this was measured at its start
            return
        model = unwrap(runner.model)
        self._measure(runner, 'pixels', F.adaptive_avg_pool2d(self.pixels.float(), PIXELS).flatten(1))
        self._measure(runner, 'student', self._student_features(model))
        if model.teacher.class_conditioning.mode != 'true':
            self._measure(runner, 'teacher', self._teacher_features(model))

    @master_only
    def after_train_epoch(self, runner) -> None:
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._measure(runner, 'student', self._student_features(unwrap(runner.model)))

    @master_only
    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        due = self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)
        if due and not self.by_epoch:
            self._measure(runner, 'student', self._student_features(unwrap(runner.model)))

    @torch.no_grad()
    def _student_features(self, model: nn.Module) -> Tensor:
        """Averages of its last map. It is given RGB, as in any training that is let run."""
        backbone, preprocessor = model.student['backbone'], model.data_preprocessor
        training = backbone.training
        backbone.eval()
        parts = []
        for batch in self.pixels.split(BATCH):
            images = normalize(batch.to(preprocessor.device).float(), preprocessor)
            # Not as compiled: that would compile it once more, for batches of this size.
            parts.append(backbone.forward(images)[-1].float().flatten(2).mean(2).cpu())  # of maps, or of tokens
        backbone.train(training)
        return torch.cat(parts)

    @torch.no_grad()
    def _teacher_features(self, model: nn.Module) -> Tensor:
        """Averages of its layers, one after the other."""
        device, policy = model.data_preprocessor.device, model.timestep_policy
        training = policy.training
        policy.eval()
        parts = []
        with torch.random.fork_rng():  # the training draws what it would without this
            torch.manual_seed(0)
            for batch in self.pixels.split(BATCH):
                images = 2 * batch.to(device).float() / 255 - 1
                features = model.teacher(images, policy.sample(images).t)
                parts.append(torch.cat([f.float().mean((2, 3)).cpu() for f in features.values()], 1))
        policy.train(training)
        return torch.cat(parts)

    def _measure(self, runner, who: str, features: Tensor) -> None:
        found = {'knn': nearest_neighbours(features, self.labels), 'linear': linear_probe(features, self.labels)}
        scalars = {f'quality/{who}_{name}': value for name, (value, _) in found.items()}
        if who == 'student':
            scalars['quality/student_rank'] = effective_rank(features)
        runner.visualizer.add_scalars(scalars, step=runner.iter)
        text = '; '.join(f'{name} {value:.1f} % (standard error {error:.1f})' for name, (value, error) in found.items())
        runner.logger.info(f'Classified by the {who}, iteration {runner.iter}: {text}.', extra=AT_TERMINAL)
