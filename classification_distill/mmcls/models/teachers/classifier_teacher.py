"""A trained classifier as a teacher."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmpretrain.models import BaseClassifier, ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor

from ...errors import MissingFileError, UnusableInputError
from ...weights import load_completely
from ..frozen import FrozenHolder
from ..images import normalize


class ClassifierTeacher(FrozenHolder):
    """Any classifier of MMPretrain, frozen, that sees the images in its own normalisation.

    Args:
        config: Config file of its training.
        checkpoint: Its checkpoint, which must load completely.

    Raises:
        FileNotFoundError: When there is no such config.
        PretrainedWeightsError: When the checkpoint does not exist, is damaged or does not fit the config.
        ValueError: When the config is not of a classifier.
    """

    def __init__(self, config: str, checkpoint: str):
        super().__init__()
        if not Path(config).is_file():
            raise MissingFileError(f'There is no config model.teacher.config={str(config)!r} in {Path.cwd()}.')
        settings = Config.fromfile(config)
        classifier = MODELS.build({'data_preprocessor': settings.get('data_preprocessor')} | settings.model.to_dict())
        if not isinstance(classifier, BaseClassifier):
            raise UnusableInputError(
                f'model.teacher.config={str(config)!r} is a {type(classifier).__name__}, expected a classifier.'
            )
        load_completely(classifier, checkpoint, 'model.teacher')
        self.hold(classifier=classifier)
        self.to_rgb = classifier.data_preprocessor.to_rgb

    def features(self, pixels: Tensor) -> Sequence[Tensor]:
        """Maps ``(N, C, h, w)`` of the backbone for images ``(N, 3, H, W)`` in [0, 255].

        Raises:
            ValueError: When the classifier has no backbone of MMPretrain.
        """
        classifier = self.held['classifier']
        if not isinstance(classifier, ImageClassifier):
            raise UnusableInputError(
                f'The features of a {type(classifier).__name__} cannot be read: compare logits, by LogitKDLoss, or '
                'give an ImageClassifier.'
            )
        with torch.no_grad():
            return classifier.extract_feat(normalize(pixels, classifier.data_preprocessor), stage='backbone')

    def logits(self, pixels: Tensor) -> Tensor:
        """Class logits ``(N, num_classes)`` for images ``(N, 3, H, W)`` in [0, 255]."""
        classifier = self.held['classifier']
        with torch.no_grad():
            return classifier(normalize(pixels, classifier.data_preprocessor))
