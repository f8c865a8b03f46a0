"""The class that a class-conditional teacher is told about an image."""

from collections.abc import Sequence

import torch
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from torch import Tensor, nn

from ...errors import UnusableInputError


class ClassConditioning:
    """Chooses the class that a network is told.

    The true class would put the answer into the features, and the reward of a policy would mean nothing; so the default
    tells the mean of all class embeddings.

    Args:
        embeddings: The network's tables of class embeddings ``(rows, D)``; for ``'mean'``, each gets a row more. Empty
            for a network without classes.
        num_classes: Number of classes, the first rows; a further row stands for no class.
        mode: ``'mean'``; ``'random'``, a class drawn for each image; ``'true'``, the image's label, which is the
            published behaviour, for data sets of ImageNet classes; or one row for all images.

    Raises:
        ValueError: When the mode is unknown, or the network has no such class.
    """

    def __init__(self, embeddings: Sequence[nn.Embedding], num_classes: int, mode: str | int = 'mean'):
        self.mode = mode
        self.num_classes = num_classes
        self._teacher_classes: Tensor | None = None
        if mode != 'mean' and not num_classes:
            raise UnusableInputError(f'class_labels={mode!r}, but the teacher is not class-conditional: leave it out.')
        rows = embeddings[0].num_embeddings if embeddings else 0
        if mode not in ('mean', 'random', 'true') and not (isinstance(mode, int) and 0 <= mode < rows):
            raise UnusableInputError(f"class_labels={mode!r} is none of 'mean', 'random', 'true' and 0 to {rows - 1}.")
        self._row = mode
        if mode == 'mean':
            self._row = rows
            for embedding in embeddings:
                _append_mean(embedding, num_classes)

    def set_dataset_classes(self, classes: Sequence[str]) -> None:
        """Learn which class of the teacher each label of the data set is, by WordNet id.

        Args:
            classes: WordNet ids in the order of the labels, or MMPretrain's names of the 1,000 ImageNet classes.

        Raises:
            ValueError: When a class is not one of ImageNet-1k.
        """
        if tuple(classes) == tuple(IMAGENET_CATEGORIES):
            self._teacher_classes = torch.arange(len(classes))
            return
        from timm.data import ImageNetInfo

        index = {wordnet_id: label for label, wordnet_id in enumerate(ImageNetInfo('imagenet-1k').label_names())}
        if unknown := [name for name in classes if name not in index]:
            raise UnusableInputError(
                f"class_labels='true' needs a data set whose classes are WordNet ids of ImageNet-1k, as 'n01443537', "
                f"not {unknown[:3]}. Use class_labels='mean'."
            )
        self._teacher_classes = torch.tensor([index[name] for name in classes])

    def __call__(self, t: Tensor, labels: Tensor | None) -> Tensor | None:
        """Classes ``(N,)`` for a batch of timesteps ``t`` and the data set's labels; None for a network without."""
        if not self.num_classes:
            return None
        if self.mode == 'random':
            return torch.randint_like(t, self.num_classes)
        if self.mode != 'true':
            return torch.full_like(t, self._row)
        if labels is None or self._teacher_classes is None:
            raise UnusableInputError(
                "class_labels='true' needs each image's label and the data set's classes: add "
                "dict(type='TeacherClassesHook') to custom_hooks, or use class_labels='mean'."
            )
        return self._teacher_classes.to(labels.device)[labels]


def _append_mean(embedding: nn.Embedding, num_classes: int) -> None:
    weight = embedding.weight.detach()
    rows = torch.cat([weight, weight[:num_classes].mean(0, keepdim=True)])
    embedding.weight = nn.Parameter(rows, requires_grad=False)
    embedding.num_embeddings += 1
