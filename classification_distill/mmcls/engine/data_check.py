"""A look at the data before training: whether classes, labels and landmarks are what the model and validation take."""

from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch import nn
from torch.utils.data import Dataset

from ..errors import UnusableInputError
from ..weights import unwrap

LABELS, SAMPLES = 2000, 16  # images whose label, or whose whole annotation, is looked at


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Before training, look at some of the annotations.

    Raises:
        UnusableInputError: When the classes of training and validation differ, when a label or a value of a label map
            is none of the model's classes, when label maps have no labelled pixel, or when there are more or fewer
            landmarks than the model has.
    """

    def before_train(self, runner) -> None:
        model, dataset = unwrap(runner.model), runner.train_dataloader.dataset
        if runner.val_loop is not None:
            _compare_classes(dataset, runner.val_loop.dataloader.dataset)
        for field, head in _heads(model):
            has_labels = hasattr(dataset, 'get_data_info') and 'gt_label' in dataset.get_data_info(0)
            if has_labels and hasattr(head, 'num_classes'):
                _check_labels(dataset, head.num_classes, field)
            _check_annotations(dataset, head, field)


def _compare_classes(training: Dataset, validation: Dataset) -> None:
    ours, theirs = (getattr(data, 'metainfo', {}).get('classes') for data in (training, validation))
    if ours and theirs and list(ours) != list(theirs):
        others = [name for name in theirs if name not in ours]
        missing = [name for name in ours if name not in theirs]
        raise UnusableInputError(
            f'Training has {len(ours)} classes and validation {len(theirs)}, so that the same number means another '
            f'class: {_some("only in training", missing)}{_some("only in validation", others)}'
            f'{"" if missing or others else "the order differs. "}Let both have the same: empty folders count as well, '
            'or name them in both by metainfo=dict(classes=[...]).'
        )


def _some(what: str, names: Sequence[str]) -> str:
    return f'{what} {", ".join(map(str, names[:5]))}{" ..." if len(names) > 5 else ""}. ' if names else ''


def _heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The parts of a model of any of the three libraries that annotations are for, with their fields in the config."""
    student = getattr(model, 'student', {})
    for name in ('head', 'decode_head', 'task_head'):
        part = getattr(model, name, None)
        if isinstance(part, nn.Module):
            yield f'model.{name}', part
    if 'head' in student:
        yield 'model.head', student['head']


def _check_labels(dataset: Dataset, num_classes: int, field: str) -> None:
    for index in np.linspace(0, len(dataset) - 1, min(LABELS, len(dataset))).astype(int).tolist():
        info = dataset.get_data_info(index)
        labels = np.atleast_1d(info['gt_label'])
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            wrong = labels.max() if labels.min() >= 0 else labels.min()
            raise UnusableInputError(
                f'{info.get("img_path", f"Image {index}")} has label {wrong}, '
                f'and {field}.num_classes is {num_classes}: its labels are 0 to {num_classes - 1}.'
            )


def _check_annotations(dataset: Dataset, head: nn.Module, field: str) -> None:
    indices = np.linspace(0, len(dataset) - 1, min(SAMPLES, len(dataset))).astype(int).tolist()
    ignored, seen = getattr(head, 'ignore_index', 255), 0
    for index in indices:
        sample = dataset[index]['data_samples']
        name = sample.get('seg_map_path') or sample.get('img_path') or f'Image {index}'
        if 'gt_sem_seg' in sample:
            values = [value for value in sample.gt_sem_seg.data.unique().tolist() if value != ignored]
            seen += len(values)
            number = head.num_classes
            if values and not 0 <= min(values) <= max(values) < number:
                wrong = [value for value in values if not 0 <= value < number][:5]
                raise UnusableInputError(
                    f'{name} has pixels of {wrong}, and {field}.num_classes is {number}: label maps hold '
                    f'0 to {number - 1}, and {ignored} where there is no label.'
                )
        elif 'gt_fields' in sample and 'heatmaps' in sample.gt_fields:
            given = len(sample.gt_fields.heatmaps)
            expected = getattr(head, 'out_channels', None) or head.conv.out_channels
            if given != expected:
                raise UnusableInputError(
                    f'{name} has {given} landmarks, and {field}.out_channels is {expected}. Set it to {given}, or '
                    'choose the landmarks in the data set.'
                )
        else:
            return
    if 'gt_sem_seg' in sample and not seen:
        raise UnusableInputError(
            f'None of {len(indices)} label maps, among them {name}, has a labelled pixel: all are {ignored}, which '
            f'{field} ignores.'
        )
