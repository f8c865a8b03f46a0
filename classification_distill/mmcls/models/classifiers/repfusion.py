"""RepFusion: distil a frozen diffusion model into a student at timesteps that a policy chooses."""

import hashlib
from collections.abc import Sequence

import torch
from mmengine.logging import MessageHub
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...configs import find_class, type_name
from ...datasets import BatchPreprocessor, FeatureCache
from ...datasets.samples import SampleBatch, Samples, collect
from ...errors import UnusableInputError
from ..images import check_diffusion_range, to_diffusion_range
from ..timestep_policies import FixedPolicy
from .base import BaseDistiller


@MODELS.register_module()
class RepFusion(BaseDistiller):
    """The distillation of "Diffusion Model as Representation Learner" (Yang and Wang, ICCV 2023).

    A training step: the policy draws a timestep for each image; the frozen teacher gives its features of the image at
    that timestep; the student's features, through the connectors, are pulled towards them; the task head, trained on
    the teacher's features, says how much they tell of the task, and minus its loss is the policy's reward.

    Args:
        teacher: The frozen diffusion model.
        backbone: The student. Its ``out_indices`` (through ``neck``, where there is one) give one feature a teacher
            layer, in the order of the teacher's ``layers``; or one for all of them.
        neck: Student's neck.
        timestep_policy: Which timestep each image gets.
        distill_loss: Compares a student feature with a teacher feature, for all layers; or a list of one a layer.
        task_head: Says how much the teacher's features tell of the task; ReinforcePolicy needs one.
        connector: Maps a student feature to a teacher feature's shape; its channels are found here. By default the one
            that suits the loss.
        standardizer: How teacher features are standardised (``FeatureStandardizer``); None leaves them raw, which
            is the published behaviour.
        image_size: Height and width of the student's images, by which its channels are found; the teacher's by default.
        feature_cache: Options of ``FeatureCache``, such as ``dict(views=8)``: each image is seen in that many fixed
            views, and the teacher's features of them are kept. It takes ``BatchPreprocessor`` and ``ImagesInMemory``.
        data_preprocessor: Normalises the images for the student. The teacher's images are recovered from its mean and
            std.
        init_cfg: Initialisation of the whole model.
        compile: Compile the student; see ``BaseDistiller``.

    Raises:
        ValueError: When student features and teacher layers do not pair up, a policy that learns has no task head,
            the loss compares logits, images are mixed of which the teacher is told the class, or timesteps are chosen
            for a teacher that does without.
    """

    def __init__(
        self,
        teacher: dict,
        backbone: dict,
        timestep_policy: dict,
        distill_loss: dict | Sequence[dict],
        neck: dict | None = None,
        task_head: dict | None = None,
        connector: dict | None = None,
        standardizer: dict | None = None,
        image_size: int | None = None,
        feature_cache: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        compile: bool | None = None,
    ):
        super().__init__(backbone, neck, data_preprocessor, init_cfg, compile)
        for loss in distill_loss if isinstance(distill_loss, Sequence) else [distill_loss]:
            if find_class('distill_loss', loss).compares != 'features':
                raise UnusableInputError(
                    f'{type_name(loss)} compares logits, and a diffusion model has none: use KDClassifier.'
                )
        self.teacher = MODELS.build(teacher)
        timesteps = {'num_timesteps': self.teacher.num_timesteps}
        if self.teacher.class_conditioning.mode == 'true' and self.data_preprocessor.batch_augments is not None:
            raise UnusableInputError(
                "model.teacher.class_labels='true' tells the teacher one class an image, and "
                'model.data_preprocessor.batch_augments mixes images of several: drop one of the two.'
            )
        self.timestep_policy = _build_policy(timestep_policy, timesteps, self.teacher.sample_size[0])
        reads_timestep = getattr(self.teacher, 'uses_timestep', True)  # a teacher of one's own is no BaseTeacher
        if not reads_timestep and not isinstance(self.timestep_policy, FixedPolicy):
            raise UnusableInputError(
                f"The teacher's features are the same at every timestep, so that {type(self.timestep_policy).__name__} "
                "has nothing to choose: set model.timestep_policy=dict(type='FixedPolicy', timestep=0)."
            )

        channels = {layer: self.teacher.feature_info[layer][0] for layer in self.teacher.layers}
        size = (image_size, image_size) if image_size else self.teacher.sample_size
        student_features = self.find_student_features(*size)
        self.pair_features(channels, student_features, distill_loss, connector)
        self.standardizers = None
        if standardizer is not None:
            defaults = {'type': 'FeatureStandardizer'} | timesteps
            self.standardizers = nn.ModuleList(
                MODELS.build(defaults | standardizer | {'channels': c}) for c in channels.values()
            )
        self.task_head = _build_task_head(task_head, sum(channels.values())) if task_head is not None else None
        if self.timestep_policy.learns and self.task_head is None:
            raise UnusableInputError(
                f'{type(self.timestep_policy).__name__} learns from a reward: give the model a task_head.'
            )
        reads_maps = self.task_head is not None and self.task_head.dense
        # Averages are asked of the teacher by keyword, and only where the loss compares them.
        pairs = zip(self.teacher.layers, self.distill_losses, strict=True)
        averaged = () if reads_maps else tuple(layer for layer, loss in pairs if loss.pooled)
        self._reading = {'pooled': averaged} if averaged else {}
        self._range_checked = False
        self.feature_cache = None
        if feature_cache is not None:
            if not isinstance(self.data_preprocessor, BatchPreprocessor) or self.data_preprocessor.batch_augments:
                raise UnusableInputError(
                    'model.feature_cache keeps features of fixed views of each image, which only BatchPreprocessor '
                    'draws, without batch_augments: set data_preprocessor.type (see docs/speed.md).'
                )
            self.feature_cache = FeatureCache(**feature_cache)
            self.data_preprocessor.fix_views(self.feature_cache.views, self.feature_cache.seed)

    def forward(self, inputs: Tensor, data_samples: Samples | None = None, mode: str = 'tensor'):
        """Run in one of MMPretrain's modes.

        Args:
            inputs: Normalised images ``(N, 3, H, W)``.
            data_samples: Labels, where the task head needs them.
            mode: ``'loss'``, ``'predict'``, or ``'tensor'`` for the student's features.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        return self.extract_feat(inputs)

    def extract_feat(self, inputs: Tensor) -> Sequence[Tensor]:
        """The student's feature maps ``(N, C, h, w)``, one a teacher layer or one for all."""
        features = self.student['backbone'](inputs)
        return self.student['neck'](features) if 'neck' in self.student else features

    def loss(self, inputs: Tensor, data_samples: Samples) -> dict[str, Tensor]:
        """Losses of one step, and diagnostics, whose names do not contain ``loss``."""
        images = self._images(inputs)
        self.timestep_policy.set_progress(_training_progress())
        sample = self.timestep_policy.sample(images)
        self.last_timesteps = sample.t
        found = None
        if self.feature_cache is None:
            features = self._features(images, sample.t, self._labels(data_samples))
        else:
            features, found = self._read_cache(images, sample.t, data_samples)
        targets = self._standardize(features, sample.t)
        losses = self.distill(self.extract_feat(inputs), targets, data_samples)
        if self.task_head is not None:
            labels = self._labels(data_samples)
            views = []
            for view, shown in self.task_head.views(images):
                seen = self._features(view, sample.t[: len(view)], None if labels is None else labels[shown])
                views.append(self._standardize(seen, sample.t[: len(view)], update_statistics=False))
            task_loss = self.task_head.loss(targets, data_samples, views)
            if self.task_head.learns:
                losses['loss_task'] = self.task_head.loss_weight * task_loss.mean()
            reward = -task_loss.detach()
            losses.update(self.timestep_policy.loss(sample.first(len(reward)), reward))
            losses['reward'] = reward.mean()
        if sample.entropy is not None:
            losses['policy_entropy'] = sample.entropy.detach().mean()
        losses['timestep_mean'] = sample.t.float().mean()
        if found is not None:
            losses['cache_hits'] = torch.tensor(found, device=images.device)
        return losses

    def predict(self, inputs: Tensor, data_samples: Samples | None = None) -> list[DataSample]:
        """Classify by the task head, so by the teacher's features: it shows what there is to distil."""
        if self.task_head is None:
            raise UnusableInputError(
                'This RepFusion has no task_head, so it predicts nothing: remove val and test from the config.'
            )
        images = self._images(inputs)
        t = self.timestep_policy.sample(images).t
        features = self._standardize(self._features(images, t, self._labels(data_samples)), t)
        return self.task_head.predict(features, data_samples)

    def cached_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Shape of each layer's feature of an image, as the cache keeps it."""
        height, width = self.teacher.sample_size
        shapes = {}
        for layer in self.teacher.layers:
            channels, stride = self.teacher.feature_info[layer]
            averaged = layer in self._reading.get('pooled', ())
            shapes[layer] = (channels, 1, 1) if averaged else (channels, height // stride, width // stride)
        return shapes

    def cache_origin(self) -> dict[str, object]:
        """What of this model the cached features follow from, besides the teacher's weights."""
        preprocessor, teacher = self.data_preprocessor, self.teacher
        device = next(teacher.network.parameters()).device
        # diffusers' settings; those that begin so tell where it is from.
        settings = dict(getattr(teacher.network, 'config', {}))
        network = {key: value for key, value in settings.items() if not key.startswith('_')}
        return {
            'teacher': type(teacher).__name__,
            'network': hashlib.sha256(repr(sorted(network.items())).encode()).hexdigest()[:32],
            'size': list(teacher.sample_size),
            'layers': list(teacher.layers),
            'averages': list(self._reading.get('pooled', ())),
            'noise': teacher.noise,
            'class_labels': teacher.class_conditioning.mode,
            'dtype': str(teacher.precision.resolve(device)),
            'augments': [{type(augment).__name__: vars(augment)} for augment in preprocessor.augments],
            'to_rgb': preprocessor.to_rgb,
        }

    def _images(self, inputs: Tensor) -> Tensor:
        images = to_diffusion_range(inputs, self.data_preprocessor)
        if not self._range_checked:
            check_diffusion_range(images)
            self._range_checked = True
        return images

    def _labels(self, data_samples: Samples | None) -> Tensor | None:
        """The classes that the teacher is told."""
        return collect(data_samples, 'gt_label') if self.teacher.class_conditioning.mode == 'true' else None

    def _features(self, images: Tensor, t: Tensor, labels: Tensor | None) -> list[Tensor]:
        """The teacher's features, one a layer."""
        return list(self.teacher(images, t, labels, **self._reading).values())

    def _read_cache(self, images: Tensor, t: Tensor, samples: SampleBatch) -> tuple[list[Tensor], float]:
        """The same of fixed views, computed where they were not before, and the share that was."""
        labels = self._labels(samples)

        def compute(rows: Tensor) -> list[Tensor]:
            count = len(rows)
            if images.is_cuda:  # a few batch sizes, so that there are few shapes to compile and to record for
                rows = torch.cat([rows, rows[:1].expand(_rounded_up(count, len(images)) - count)])
            features = self._features(images[rows], t[rows], None if labels is None else labels[rows])
            return [feature[:count] for feature in features]

        return self.feature_cache.read(samples.sample_idx, samples.view, t, compute)

    def _standardize(self, features: list[Tensor], t: Tensor, update_statistics: bool = True) -> list[Tensor]:
        """The features as the losses and the task head take them."""
        if self.standardizers is None:
            return features
        pairs = zip(self.standardizers, features, strict=True)
        return [standardize(feature, t, update_statistics) for standardize, feature in pairs]


def _rounded_up(count: int, batch_size: int) -> int:
    """The smallest of a batch, its half, quarter and eighth that holds ``count`` images."""
    return min(size for size in (-(-batch_size // part) for part in (1, 2, 4, 8)) if size >= count)


def _training_progress() -> float:
    """Share of the training that is done, from MMEngine's runner; 0 where there is none."""
    hub = MessageHub.get_current_instance()
    return hub.get_info('iter', 0) / hub.get_info('max_iters', 1)


def _build_policy(config: dict, timesteps: dict, image_size: int) -> nn.Module:
    """Build a policy that fits the teacher: its timesteps, and its image size where the policy has a say in that."""
    if find_class('timestep_policy', config).learns:
        timesteps = timesteps | {'image_size': image_size}
    return MODELS.build(timesteps | config)


def _build_task_head(config: dict, in_channels: int) -> nn.Module:
    channels = {'in_channels': in_channels} if find_class('task_head', config).needs_channels else {}
    return MODELS.build(channels | config)
