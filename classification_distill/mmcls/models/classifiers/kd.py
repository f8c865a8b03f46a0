"""Knowledge distillation between ordinary classifiers, the paper's baseline."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from ...configs import find_class
from ...datasets.samples import Samples
from ...errors import UnusableInputError
from ..images import to_pixels
from ..teachers.classifier_teacher import ClassifierTeacher
from .base import BaseDistiller


@MODELS.register_module()
class KDClassifier(BaseDistiller):
    """A student classifier trained on labels and on what a trained classifier says of the images.

    Whether logits or feature maps are compared is up to the loss: "Distilling the Knowledge in a Neural Network"
    (Hinton et al., 2015) by ``LogitKDLoss``, the others on the maps of the two backbones.

    Args:
        teacher: ``config`` and ``checkpoint`` of any MMPretrain classifier (``ClassifierTeacher``).
        backbone: The student's backbone. For losses on features its ``out_indices`` give as many maps as the teacher's.
        head: The student's classification head.
        distill_loss: Compares student and teacher.
        neck: Student's neck.
        connector: Maps a student feature to a teacher feature's shape; by default the one that suits the loss.
        image_size: Height and width of the blank image by which channels are found.
        data_preprocessor: Normalises the images for the student; the teacher gets its own normalisation.
        init_cfg: Initialisation of the whole model.
        compile: Compile the student; see ``BaseDistiller``.

    Raises:
        PretrainedWeightsError: When the teacher's checkpoint does not load completely.
        ValueError: When student and teacher do not fit: numbers of features or classes, or the order of the channels.
    """

    def __init__(
        self,
        teacher: dict,
        backbone: dict,
        head: dict,
        distill_loss: dict,
        neck: dict | None = None,
        connector: dict | None = None,
        image_size: int = 32,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        compile: bool | None = None,
    ):
        super().__init__(backbone, neck, data_preprocessor, init_cfg, compile)
        self.student['head'] = MODELS.build(head)
        self.teacher = ClassifierTeacher(**teacher)
        if self.teacher.to_rgb != self.data_preprocessor.to_rgb:
            raise UnusableInputError(
                f'data_preprocessor.to_rgb is {self.data_preprocessor.to_rgb}, that of the teacher '
                f'{self.teacher.to_rgb}: it would see red as blue. Give both the same.'
            )
        self._compares_logits = find_class('distill_loss', distill_loss).compares == 'logits'
        features = self.find_student_features(image_size, image_size)
        blank = torch.zeros(1, 3, image_size, image_size)
        if self._compares_logits:
            self.distill_loss = MODELS.build(distill_loss)
            self._check_classes(features, self.teacher.logits(blank))
        else:
            maps = {f'stage{i}': feature.shape[1] for i, feature in enumerate(self.teacher.features(blank))}
            self.pair_features(maps, features, distill_loss, connector)

    def forward(self, inputs: Tensor, data_samples: Samples | None = None, mode: str = 'tensor'):
        """Run in one of MMPretrain's modes.

        Args:
            inputs: Normalised images ``(N, 3, H, W)``.
            data_samples: Labels.
            mode: ``'loss'``, ``'predict'``, or ``'tensor'`` for the student's logits ``(N, num_classes)``.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.student['head'].predict(self._neck(self.extract_feat(inputs)), data_samples)
        return self.student['head'](self._neck(self.extract_feat(inputs)))

    def extract_feat(self, inputs: Tensor) -> Sequence[Tensor]:
        """The maps ``(N, C, h, w)`` of the student's backbone."""
        return self.student['backbone'](inputs)

    def loss(self, inputs: Tensor, data_samples: Samples) -> dict[str, Tensor]:
        """The head's loss on the labels, and the distillation losses."""
        features = self.extract_feat(inputs)
        necked = self._neck(features)
        losses = self.student['head'].loss(necked, data_samples)
        pixels = to_pixels(inputs, self.data_preprocessor)
        if self._compares_logits:
            distill_loss = self.distill_loss(self.student['head'](necked), self.teacher.logits(pixels))
            return losses | {'loss_distill_logits': distill_loss}
        return losses | self.distill(features, self.teacher.features(pixels), data_samples)

    def _neck(self, features: Sequence[Tensor]) -> Sequence[Tensor]:
        return self.student['neck'](features) if 'neck' in self.student else features

    @torch.no_grad()
    def _check_classes(self, features: Sequence[Tensor], teacher_logits: Tensor) -> None:
        student_logits = self.student['head'](self._neck(features))
        if student_logits.shape != teacher_logits.shape:
            raise UnusableInputError(
                f'The student has {student_logits.shape[1]} classes and the teacher {teacher_logits.shape[1]}: logits '
                'can only be compared between classifiers of the same classes.'
            )
