"""What distillation from any teacher shares: the student, and how its features meet the teacher's."""

from collections.abc import Sequence, Sized

import torch
from mmengine.model import ModuleDict
from mmpretrain.models import BaseClassifier
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...configs import find_class
from ...datasets.samples import Samples, collect
from ...errors import UnusableInputError
from ..backbones.timm_feature_maps import is_channels_last


class BaseDistiller(BaseClassifier):
    """A student and, for each feature of the teacher, a connector and a distillation loss.

    The student's weights are ``student.backbone.*`` in a checkpoint; downstream configs load them by that prefix.
    Subclasses build their teacher and then call ``pair_features``.

    Args:
        backbone: The student.
        neck: Student's neck.
        data_preprocessor: Normalises the images for the student. What the teacher is given is recovered from its mean
            and std.
        init_cfg: Initialisation of the whole model.
        compile: Compile the student's backbone by ``torch.compile`` and keep its maps channels-last, which takes a
            minute at the start. None does so on a GPU.

    Attributes:
        map_sizes (list): Height and width of each of the student's maps that are compared.
        image_size (int): Height of the images of which they are the maps.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        compile: bool | None = None,
    ):
        preprocessor = {'type': 'ClsDataPreprocessor'} | dict(data_preprocessor or {})
        super().__init__(init_cfg=init_cfg, data_preprocessor=preprocessor)
        # MMEngine's, not torch's: init_weights passes over children that do not have that method.
        self.student = ModuleDict({'backbone': MODELS.build(backbone)})
        if neck is not None:
            self.student['neck'] = MODELS.build(neck)
        self.compile_student = compile
        self.map_sizes: list[tuple[int, int]] = []

    def to(self, *args, **kwargs) -> 'BaseDistiller':
        """Move the model, and lay the student out for where it is now: DDP takes gradients as the weights lie."""
        super().to(*args, **kwargs)
        if self._compiles():
            self.student['backbone'].to(memory_format=torch.channels_last).compile()
        return self

    def init_weights(self) -> None:
        """Initialise by the seed alone: torch draws a weight's values in the order in which they lie in memory."""
        self.student['backbone'].to(memory_format=torch.contiguous_format)
        super().init_weights()
        if self._compiles():
            self.student['backbone'].to(memory_format=torch.channels_last)

    def _compiles(self) -> bool:
        on_gpu = next(self.student['backbone'].parameters()).is_cuda
        return on_gpu if self.compile_student is None else self.compile_student

    def pair_features(
        self,
        teacher_channels: dict[str, int],
        student_features: Sequence[Tensor],
        distill_loss: dict | Sequence[dict],
        connector: dict | None = None,
    ) -> None:
        """Build a connector and a loss for each pair of a student and a teacher feature.

        Args:
            teacher_channels: Channels of each teacher feature, by its name.
            student_features: Student features of any images, ``(N, C, h, w)`` each, in the order of the teacher's; or
                one, which then meets all of them.
            distill_loss: Config of the loss, or one for each feature; it is told the channels if it asks for them.
            connector: Config of the connector; by default the one that the loss names.

        Raises:
            ValueError: When the student gives more features than one and not as many as the teacher, or no maps; or
                when there are not as many losses.
        """
        given, student_features = student_features, one_for_each(student_features, teacher_channels)
        if len(student_features) != len(teacher_channels):
            raise UnusableInputError(
                f'The student gives {len(student_features)} feature(s) and the teacher {len(teacher_channels)} '
                f'({list(teacher_channels)}): list as many out_indices in backbone as the teacher has, or one for all.'
            )
        if shapes := [tuple(feature.shape) for feature in student_features if feature.dim() != 4]:
            raise UnusableInputError(
                f'The student gives features of shape {shapes}, expected maps (N, C, h, w): let backbone and neck '
                "return feature maps, without global pooling; of timm's networks, TIMMFeatureMaps does."
            )
        if any(is_channels_last(self.student['backbone'], feature) for feature in student_features):
            raise UnusableInputError(
                "The student's maps are (N, h, w, C), as timm's Swin returns them; expected (N, C, h, w): write "
                "backbone.type='TIMMFeatureMaps'."
            )
        self.map_sizes = [tuple(feature.shape[2:]) for feature in given]
        losses = list(distill_loss) if isinstance(distill_loss, Sequence) else [distill_loss] * len(teacher_channels)
        if len(losses) != len(teacher_channels):
            raise UnusableInputError(
                f'distill_loss lists {len(losses)} losses, and the teacher gives {len(teacher_channels)} features '
                f'({list(teacher_channels)}): list one for each, or give one for all.'
            )
        self.connectors, self.distill_losses = nn.ModuleList(), nn.ModuleList()
        for feature, channels, loss in zip(student_features, teacher_channels.values(), losses, strict=True):
            between = connector or {'type': find_class('distill_loss', loss).connector}
            self.connectors.append(_build_for('connector', between, feature.shape[1], channels))
            self.distill_losses.append(_build_for('distill_loss', loss, feature.shape[1], channels))
        self._names = tuple(name.replace('.', '_') for name in teacher_channels)

    def distill(
        self, student_features: Sequence[Tensor], teacher_features: Sequence[Tensor], data_samples: Samples
    ) -> dict[str, Tensor]:
        """The distillation losses ``loss_distill_<name>``, one a teacher feature."""
        losses = {}
        pairs = zip(one_for_each(student_features, teacher_features), teacher_features, strict=True)
        parts = zip(self._names, self.connectors, self.distill_losses, strict=True)
        for (name, connector, distill_loss), (feature, target) in zip(parts, pairs, strict=True):
            arguments = [connector(feature, target.shape), target]
            if distill_loss.needs_indices:
                arguments.append(collect(data_samples, 'sample_idx').to(target.device))
            losses[f'loss_distill_{name}'] = distill_loss(*arguments)
        return losses

    @torch.no_grad()
    def find_student_features(self, height: int, width: int) -> Sequence[Tensor]:
        """The student's features of a blank image, for their channels."""
        self.image_size = height
        self.student.eval()
        features = self.extract_feat(torch.zeros(1, 3, height, width))
        self.student.train()
        return features


def one_for_each(student_features: Sequence[Tensor], teacher_features: Sized) -> Sequence[Tensor]:
    """The student's features, the only one as often as the teacher has any."""
    return student_features * len(teacher_features) if len(student_features) == 1 else student_features


def _build_for(part: str, config: dict, student_channels: int, teacher_channels: int) -> nn.Module:
    """Build a connector or a loss, told the channels of the pair where it has parameters that depend on them."""
    channels = {'student_channels': student_channels, 'teacher_channels': teacher_channels}
    return MODELS.build((channels if find_class(part, config).needs_channels else {}) | config)
