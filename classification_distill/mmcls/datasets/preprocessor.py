"""A data preprocessor that takes whole batches, and augments them where the model is."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import BATCH_AUGMENTS, MODELS
from torch import Tensor

from .draws import ViewDraws, fresh_draws
from .samples import SampleBatch


@MODELS.register_module()
class BatchPreprocessor(ClsDataPreprocessor):
    """MMPretrain's ``ClsDataPreprocessor``, before whose normalisation the batch is augmented in training.

    Otherwise images are only resized, whole, to the size of the crops that training gives, where these have one.

    Args:
        augments: Configs of augmentations, such as ``BatchCrop`` and ``BatchFlip``, in their order.
        options: As in ``ClsDataPreprocessor``: ``mean``, ``std``, ``to_rgb``, ``batch_augments`` and others.

    Examples:
        >>> preprocessor = BatchPreprocessor([dict(type='BatchFlip')], mean=[127.5] * 3, std=[127.5] * 3)
        >>> preprocessor({'inputs': torch.zeros(8, 3, 32, 32, dtype=torch.uint8)}, training=True)['inputs'].min()
        tensor(-1.)
    """

    def __init__(self, augments: Sequence[dict] = (), **options):
        super().__init__(**options)
        self.augments = [BATCH_AUGMENTS.build(augment) for augment in augments]
        self.num_views: int | None = None
        self.size = next((a.size for a in reversed(self.augments) if getattr(a, 'size', None)), None)

    def fix_views(self, number: int, seed: int) -> None:
        """From now on, draw one of ``number`` fixed views of each image, and write its number as ``view``."""
        self.num_views, self.seed = number, seed

    def forward(self, data: dict, training: bool = False) -> dict:
        """Augment and normalise a batch.

        Args:
            data: ``inputs``, uint8 images ``(N, C, H, W)`` or a list of N, and ``data_samples`` or none.
            training: Whether to augment.

        Returns:
            dict: ``inputs (N, C, H, W)``, float32, and ``data_samples``, on the device.
        """
        inputs, samples = data['inputs'], data.get('data_samples')
        if not isinstance(inputs, Tensor):
            if not (self.augments if training else self.size):
                return super().forward(data, training)
            inputs = torch.stack(list(inputs))
        inputs = inputs.to(self.device, non_blocking=True)
        if samples is not None and not isinstance(samples, list):
            samples = samples.to(self.device, non_blocking=True)
        if training:
            # Under mixed precision the places of crops would be rounded.
            with torch.autocast(inputs.device.type, enabled=False):
                inputs = self._augment(inputs, samples)
        elif self.size and inputs.shape[-2:] != (self.size, self.size):
            inputs = F.interpolate(inputs.float(), (self.size, self.size), mode='bilinear', antialias=True)
        if (
            isinstance(samples, list)
            or self.pad_size_divisor > 1
            or self.to_onehot
            or (training and self.batch_augments is not None)
        ):
            return super().forward({'inputs': inputs, 'data_samples': samples and list(samples)}, training)
        if self.to_rgb:
            inputs = inputs.flip(1)
        # From bytes in two passes over the memory.
        inputs = (inputs - self.mean).div_(self.std) if self._enable_normalize else inputs.float()
        return {'inputs': inputs, 'data_samples': samples}

    def _augment(self, inputs: Tensor, samples: SampleBatch | None) -> Tensor:
        draw = fresh_draws(len(inputs), inputs.device)
        if self.num_views is not None:
            indices = samples.sample_idx.to(inputs.device, non_blocking=True)
            samples.view = torch.randint_like(indices, self.num_views)
            draw = ViewDraws(indices, samples.view, self.seed)
        for augment in self.augments:
            inputs = augment(inputs, draw)
        return inputs


@MODELS.register_module()
class ViewsPreprocessor(BatchPreprocessor):
    """Several augmented views of each batch, as MMPretrain's self-supervised models take them.

    Args:
        num_views: Views of each image in training, drawn independently.
        options: As in ``BatchPreprocessor``.
    """

    def __init__(self, num_views: int = 2, **options):
        super().__init__(**options)
        self.num_drawn = num_views

    def forward(self, data: dict, training: bool = False) -> dict:
        """Augment and normalise a batch; in training, ``inputs`` is a list of ``num_views`` tensors."""
        if not training:
            return super().forward(data, training)
        views = [super(ViewsPreprocessor, self).forward(data, training) for _ in range(self.num_drawn)]
        return views[0] | {'inputs': [view['inputs'] for view in views]}
