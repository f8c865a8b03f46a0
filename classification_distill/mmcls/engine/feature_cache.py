"""The cache of teacher features of a run: opened when the data set is known."""

import hashlib
import socket
from pathlib import Path

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..datasets import ImagesInMemory
from ..errors import UnusableInputError
from ..models.teachers.base import BaseTeacher
from ..weights import unwrap
from .terminal import AT_TERMINAL


@HOOKS.register_module()
class FeatureCacheHook(Hook):
    """Open the cache of a model that has one, for the images that it is trained on.

    Raises:
        UnusableInputError: When the data set draws what the cache would have to know, or the cache is another run's.
    """

    def before_train(self, runner) -> None:
        model = unwrap(runner.model)
        cache = getattr(model, 'feature_cache', None)
        if cache is None:
            return
        dataset = runner.train_dataloader.dataset
        if not isinstance(dataset, ImagesInMemory):
            raise UnusableInputError(
                f'model.feature_cache needs to know what is drawn of each image, and {type(dataset).__name__} draws on '
                'its own: take ImagesInMemory with BatchPreprocessor (see docs/speed.md).'
            )
        cache.folder = cache.folder or str(Path(runner.work_dir, 'feature_cache'))
        if len(set(all_gather_object(socket.gethostname()))) > 1:
            # What two machines map of one file need not be the same.
            cache.folder = str(Path(cache.folder, socket.gethostname()))
        shapes = model.cached_shapes()
        grid = model.timestep_policy.grid
        origin = {'data': dataset.fingerprint(), 'teacher_weights': fingerprint_weights(model.teacher)}
        cache.open(shapes, len(dataset), grid, model.cache_origin() | origin)
        runner.logger.info(
            f'Teacher features are kept in {cache.folder}, at most {cache.bytes / 2**30:.1f} GiB: {len(dataset):,} '
            f'images x {cache.views} views x {len(grid)} timesteps.',
            extra=AT_TERMINAL,
        )


@torch.no_grad()
def fingerprint_weights(teacher: BaseTeacher) -> str:
    """Changes with the noise levels and with every layer's weights, of which a thousand each are looked at."""
    digest = hashlib.sha256()
    for name, weight in (teacher.held.state_dict() | {'levels': teacher.levels}).items():
        values = weight.flatten()[:: max(1, weight.numel() // 1000)].float().cpu().numpy()
        digest.update(f'{name} {tuple(weight.shape)}'.encode() + values.tobytes())
    return digest.hexdigest()[:32]
