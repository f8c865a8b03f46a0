"""Looks into the models of a distillation: what the policy chooses, what teacher and student see."""

import copy
from contextlib import chdir
from dataclasses import dataclass, field

import numpy as np
import torch
from diffusers.utils.logging import disable_progress_bar
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings
from mmpretrain.registry import DATASETS, MODELS
from torch import Tensor, nn
from torch.utils.data import Dataset

from ...datasets.in_memory import one_by_one
from ...engine.preflight import check_data
from ...models.images import to_diffusion_range, to_pixels
from ...visualization.features import pca_colors, spread_timesteps, student_colors, teacher_colors
from ...weights import load_completely
from .runs import Run

NUM_IMAGES = 6
NUM_CHOICES = 1000  # images by which the policy's choices are counted
NUM_BINS = 20


@dataclass
class Insight:
    """Pictures of a few images, and statistics of many.

    Attributes:
        images: ``(N, H, W, 3)``, uint8.
        layers: ``layer -> {column: (N, h, w, 3)}``, uint8: the teacher at several timesteps, the student before and
            after.
        choices: The policy's words on each image; none for a policy that does not learn.
        by_class: Share of images ``(classes, bins)`` for which the policy chooses a timestep.
        classes: Names of the rows of ``by_class``.
        num_timesteps: T of the teacher.
    """

    images: np.ndarray
    layers: dict[str, dict[str, np.ndarray]]
    choices: list[str] = field(default_factory=list)
    by_class: np.ndarray | None = None
    classes: list[str] = field(default_factory=list)
    num_timesteps: int = 0


def look_into(run: Run) -> Insight | str:
    """Build the run's model and look; where a part is missing, a sentence that says which."""
    if run.checkpoint is None:
        return f'There is no checkpoint in {run.folder}.'
    if not MMLogger.check_instance_created('report'):
        MMLogger.get_instance('report', log_level='WARNING')
    disable_progress_bar()  # of diffusers
    init_default_scope('mmpretrain')
    config = Config(copy.deepcopy(run.config))
    split = 'val' if config.get('val_dataloader') else 'train'
    with chdir(run.tree):
        try:
            check_data(config, [split])
            model, before, dataset = _build(run, config, split)
            if model.__class__.__name__ == 'RepFusion':
                return _look_at_distillation(model, before, dataset)
            return _look_at_classifier(model, before, dataset)
        except (FileNotFoundError, ImportError, ValueError, torch.OutOfMemoryError) as error:
            return ' '.join(str(error).split())


def _build(run: Run, config: Config, split: str) -> tuple[nn.Module, nn.Module, Dataset]:
    """The trained model, its student as it was before, and the images."""
    if 'custom_imports' in config:
        import_modules_from_strings(**config.custom_imports)
    torch.manual_seed(run.seed or 0)
    model = MODELS.build({'data_preprocessor': config.get('data_preprocessor')} | config.model.to_dict())
    model.init_weights()
    before = copy.deepcopy(model.student)
    load_completely(model, str(run.checkpoint), 'run')
    dataset = DATASETS.build(one_by_one(config[f'{split}_dataloader'].dataset))
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model.eval()
    return model.to(device), before.to(device), dataset


def _read(model: nn.Module, dataset: Dataset, indices: np.ndarray) -> tuple[Tensor, list]:
    """Images ``(N, 3, H, W)``, normalised, and their annotations."""
    samples = [dataset[i] for i in np.unique(indices.astype(int)).tolist()]
    batch = {key: [sample[key] for sample in samples] for key in ('inputs', 'data_samples')}
    batch = model.data_preprocessor(batch)
    return batch['inputs'], batch['data_samples']


def _pictures(model: nn.Module, inputs: Tensor) -> np.ndarray:
    return to_pixels(inputs, model.data_preprocessor).byte().movedim(1, -1).cpu().numpy()


def _look_at_distillation(model: nn.Module, before: nn.Module, dataset: Dataset) -> Insight:
    if model.teacher.class_conditioning.mode == 'true':
        model.teacher.class_conditioning.set_dataset_classes(dataset.metainfo['classes'])
    inputs, data_samples = _read(model, dataset, np.linspace(0, len(dataset) - 1, NUM_IMAGES))
    timesteps = spread_timesteps(model.teacher.num_timesteps)
    untrained, after = _before_and_after(model, before, inputs)
    layers = {}
    teacher = teacher_colors(model, inputs, data_samples, timesteps)
    for (layer, colors), first, last in zip(teacher.items(), untrained, after, strict=True):
        columns = {f'teacher, t\xa0=\xa0{t}': c for t, c in zip(timesteps, colors, strict=True)}
        layers[layer] = columns | {'student before': first, 'student after': last}
    found = Insight(_pictures(model, inputs), layers, num_timesteps=model.teacher.num_timesteps)
    if model.timestep_policy.learns:
        found.choices = _describe_choices(model, inputs)
        found.by_class, found.classes = _choices_by_class(model, dataset)
    return found


def _look_at_classifier(model: nn.Module, before: nn.Module, dataset: Dataset) -> Insight:
    """The last maps of the teacher's and the student's backbones."""
    inputs, _ = _read(model, dataset, np.linspace(0, len(dataset) - 1, NUM_IMAGES))
    untrained, after = _before_and_after(model, before, inputs)
    teacher = model.teacher.features(to_pixels(inputs, model.data_preprocessor))
    columns = {'teacher': pca_colors(teacher[-1:])[0], 'student before': untrained[-1], 'student after': after[-1]}
    return Insight(_pictures(model, inputs), {'last feature map': columns})


def _before_and_after(model: nn.Module, before: nn.Module, inputs: Tensor) -> tuple[list, list]:
    after, trained = student_colors(model, inputs), model.student
    model.student = before
    untrained = student_colors(model, inputs)
    model.student = trained
    return untrained, after


@torch.no_grad()
def _probabilities(model: nn.Module, inputs: Tensor) -> Tensor:
    return model.timestep_policy.distribution(to_diffusion_range(inputs, model.data_preprocessor)).probs


def _describe_choices(model: nn.Module, inputs: Tensor) -> list[str]:
    words = []
    for probabilities in _probabilities(model, inputs):
        best = probabilities.argmax().item()
        words.append(f't = {model.timestep_policy.grid[best].item()} ({probabilities[best].item():.1%})')
    return words


def _choices_by_class(model: nn.Module, dataset: Dataset) -> tuple[np.ndarray | None, list[str]]:
    """Mean probability of each bin of timesteps for the images of each class ``(classes, bins)``."""
    classes = list(dataset.metainfo.get('classes') or ())
    if not classes or 'gt_label' not in dataset[0]['data_samples']:
        return None, []
    bins = model.timestep_policy.grid * NUM_BINS // model.teacher.num_timesteps
    sums, seen = bins.new_zeros(len(classes), NUM_BINS).float(), bins.new_zeros(len(classes))
    chosen = np.linspace(0, len(dataset) - 1, min(NUM_CHOICES, len(dataset)))
    for indices in np.array_split(chosen, -(-len(chosen) // 100)):
        inputs, data_samples = _read(model, dataset, indices)
        labels = torch.cat([sample.gt_label for sample in data_samples]).to(bins.device)
        probabilities = _probabilities(model, inputs)
        sums.index_add_(0, labels, sums.new_zeros(len(labels), NUM_BINS).index_add_(1, bins, probabilities))
        seen += torch.bincount(labels, minlength=len(classes))
    kept = seen.nonzero().flatten().tolist()
    return (sums[kept] / seen[kept, None]).cpu().numpy(), [str(classes[i]) for i in kept]
