"""RepFusion: distil a frozen diffusion model into a student at timesteps that a policy chooses."""

import torch
from mmpretrain.models import BaseClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..images import check_diffusion_range, to_diffusion_range


@MODELS.register_module()
class RepFusion(BaseClassifier):
    """The classifier of "Diffusion Model as Representation Learner" (Yang and Wang, ICCV 2023).

    A training step: the policy draws a timestep for each image; the frozen teacher gives its features of the image at
    that timestep; the student's features, through the connectors, are pulled towards them; the task head, trained on
    the teacher's features, says how much they tell of the task, and minus its loss is the policy's reward.

    The student's weights are ``student.backbone.*`` in a checkpoint; downstream configs load them by that prefix.

    Args:
        teacher: The frozen diffusion model.
        backbone: The student. Its ``out_indices`` (through ``neck``, where there is one) give one feature a teacher
            layer, in the order of the teacher's ``layers``.
        neck: Student's neck.
        timestep_policy: Which timestep each image gets.
        distill_loss: Compares a student feature with a teacher feature.
        task_head: Predicts the task from teacher features; ReinforcePolicy needs one.
        connector: Maps a student feature to a teacher feature's shape; its channels are found here.
        standardizer: How teacher features are standardised (:class:`FeatureStandardizer`); None leaves them raw, which
            is the published behaviour.
        data_preprocessor: Normalises the images for the student. The teacher's images are recovered from its mean and
            std.
        init_cfg: Initialisation of the whole model.

    Raises:
        ValueError: When student features and teacher layers do not pair up, or a policy that learns has no task head.
    """

    def __init__(
        self,
        teacher: dict,
        backbone: dict,
        timestep_policy: dict,
        distill_loss: dict,
        neck: dict | None = None,
        task_head: dict | None = None,
        connector: dict | None = None,
        standardizer: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        preprocessor = {'type': 'ClsDataPreprocessor'} | dict(data_preprocessor or {})
        super().__init__(init_cfg=init_cfg, data_preprocessor=preprocessor)
        self.teacher = MODELS.build(teacher)
        self.student = nn.ModuleDict({'backbone': MODELS.build(backbone)})
        if neck is not None:
            self.student['neck'] = MODELS.build(neck)
        self.distill_loss = MODELS.build(distill_loss)
        timesteps = {'num_timesteps': self.teacher.num_timesteps}
        self.timestep_policy = _build_policy(timestep_policy, timesteps, self.teacher.sample_size[0])

        channels = [self.teacher.feature_info[layer][0] for layer in self.teacher.layers]
        self.connectors = self._build_connectors(connector or {'type': 'ConvConnector'}, channels)
        self.standardizers = None
        if standardizer is not None:
            defaults = {'type': 'FeatureStandardizer'} | timesteps
            self.standardizers = nn.ModuleList(
                MODELS.build(defaults | standardizer | {'channels': c}) for c in channels
            )
        self.task_head = MODELS.build({'in_channels': sum(channels)} | task_head) if task_head is not None else None
        if self.timestep_policy.learns and self.task_head is None:
            raise ValueError(f'{type(self.timestep_policy).__name__} learns from a reward: give the model a task_head.')
        self._range_checked = False

    def forward(self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = 'tensor'):
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

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The student's feature maps ``(N, C, h, w)``, one a teacher layer."""
        features = self.student['backbone'](inputs)
        return self.student['neck'](features) if 'neck' in self.student else features

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Losses of one step, and diagnostics, whose names do not contain ``loss``."""
        sample, targets = self._read_teacher(inputs, data_samples)
        losses = {}
        for layer, connector, feature, target in zip(
            self.teacher.layers, self.connectors, self.extract_feat(inputs), targets, strict=True
        ):
            name = layer.replace('.', '_')
            losses[f'loss_distill_{name}'] = self.distill_loss(connector(feature, target.shape), target)
        if self.task_head is not None:
            task_loss = self.task_head.loss(targets, data_samples)
            losses['loss_task'] = self.task_head.loss_weight * task_loss.mean()
            reward = -task_loss.detach()
            losses.update(self.timestep_policy.loss(sample, reward))
            losses['reward'] = reward.mean()
        if sample.entropy is not None:
            losses['policy_entropy'] = sample.entropy.detach().mean()
        losses['timestep_mean'] = sample.t.float().mean()
        return losses

    def predict(self, inputs: Tensor, data_samples: list[DataSample] | None = None) -> list[DataSample]:
        """Classify by the task head, so by the teacher's features: it shows what there is to distil."""
        if self.task_head is None:
            raise ValueError(
                'This RepFusion has no task_head, so it predicts nothing: remove val and test from the config.'
            )
        _, targets = self._read_teacher(inputs, data_samples)
        return self.task_head.predict(targets, data_samples)

    def _read_teacher(self, inputs: Tensor, data_samples: list[DataSample] | None):
        images = to_diffusion_range(inputs, self.data_preprocessor)
        if not self._range_checked:
            check_diffusion_range(images)
            self._range_checked = True
        sample = self.timestep_policy.sample(images)
        self.last_timesteps = sample.t
        labels = None
        if self.teacher.class_conditioning.mode == 'true':
            labels = torch.cat([data_sample.gt_label for data_sample in data_samples])
        features = list(self.teacher(images, sample.t, labels).values())
        if self.distill_loss.pooled:
            features = [feature.mean((2, 3), keepdim=True) for feature in features]
        if self.standardizers is not None:
            features = [standardize(f, sample.t) for standardize, f in zip(self.standardizers, features, strict=True)]
        return sample, features

    @torch.no_grad()
    def _build_connectors(self, config: dict, teacher_channels: list[int]) -> nn.ModuleList:
        self.student.eval()
        features = self.extract_feat(torch.zeros(1, 3, *self.teacher.sample_size))
        self.student.train()
        if len(features) != len(teacher_channels):
            raise ValueError(
                f'The student gives {len(features)} feature(s) and the teacher {len(teacher_channels)}: list as many '
                f'out_indices in backbone as layers in teacher ({list(self.teacher.layers)}).'
            )
        return nn.ModuleList(
            MODELS.build(config | {'in_channels': feature.shape[1], 'out_channels': channels})
            for feature, channels in zip(features, teacher_channels, strict=True)
        )


def _build_policy(config: dict, timesteps: dict, image_size: int) -> nn.Module:
    """Build a policy that fits the teacher: its timesteps, and its image size where the policy has a say in that."""
    if MODELS.get(config['type']).learns:
        timesteps = timesteps | {'image_size': image_size}
    return MODELS.build(timesteps | config)
