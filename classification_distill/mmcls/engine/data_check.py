"""A look at the data: whether classes, labels and landmarks are what the model and validation take."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch import nn
from torch.utils.data import Dataset

from ..configs import find_image_size
from ..datasets.image_files import is_hidden, look_at
from ..errors import UnusableInputError
from ..weights import unwrap
from .terminal import AT_TERMINAL

LABELS, SAMPLES = 2000, 16  # images whose label, or which as a whole, are looked at
MAPS = 500  # label maps that are looked at where few seem to tell nothing apart


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Look at some of the data before training or a test.

    What is odd is logged in a line each.

    Attributes:
        remarks (list[str]): What is odd.

    Raises:
        UnusableInputError: When the classes of training and validation, or those of the checkpoint and their number or
            order in the test, differ, or one is a system's folder; when a label or a value of a label map is none of
            the model's classes; when label maps for training tell nothing apart; or when there are more or fewer
            landmarks than the model has.
    """

    def __init__(self):
        self.remarks: list[str] = []
        self._trained_classes: Sequence[str] = ()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        self._trained_classes = (checkpoint.get('meta', {}).get('dataset_meta') or {}).get('classes') or ()

    def before_train(self, runner) -> None:
        model, dataset = unwrap(runner.model), runner.train_dataloader.dataset
        if runner.val_loop is not None:
            validation = _classes_of(runner.val_loop.dataloader.dataset)
            _compare_classes(_classes_of(dataset), validation)
        self.remarks = [*_small_maps(model, runner.cfg), *_look(model, dataset, is_training=True)]
        for remark in self.remarks:
            runner.logger.warning(remark, extra=AT_TERMINAL)

    def before_test(self, runner) -> None:
        dataset = runner.test_dataloader.dataset
        remarks = _compare_with_checkpoint(self._trained_classes, _classes_of(dataset))
        for remark in [*remarks, *_look(unwrap(runner.model), dataset, is_training=False)]:
            runner.logger.warning(remark, extra=AT_TERMINAL)


def _small_maps(model: nn.Module, config: Config) -> Iterator[str]:
    sizes = getattr(model, 'map_sizes', [])
    # They are those of images of the size that the model was told, which need not be the data's.
    if (1, 1) in sizes and find_image_size(config) == model.image_size:
        yield (
            f'Map {sizes.index((1, 1)) + 1} of {len(sizes)} that the student gives is 1x1, so that it cannot tell '
            'where something is. Larger images (--image-size of tools/distill_folder.py), or a student that halves '
            'them less often, keep a map.'
        )


def _look(model: nn.Module, dataset: Dataset, is_training: bool) -> list[str]:
    """Labels and annotations of some images, and the remarks on them."""
    _refuse_system_folders(dataset)
    for field, head in _heads(model):
        has_labels = hasattr(dataset, 'get_data_info') and 'gt_label' in dataset.get_data_info(0)
        if has_labels and hasattr(head, 'num_classes'):
            _check_labels(dataset, head.num_classes, field)
        _check_annotations(dataset, head, field)
        if is_training and hasattr(head, 'ignore_index') and hasattr(head, 'num_classes'):
            _check_maps(dataset, head, field)
    return list(_look_at_files(dataset))


def _refuse_system_folders(dataset: Dataset) -> None:
    classes, folder = _classes_of(dataset), getattr(dataset, 'img_prefix', None)
    if folder and (names := [name for name in classes if is_hidden(str(name)) and Path(folder, name).is_dir()]):
        raise UnusableInputError(
            f'{", ".join(names)} in {folder} would be a class of {len(classes)}: it is a folder of the system. Delete '
            'it, or list the images in an ann_file.'
        )


def _look_at_files(dataset: Dataset) -> Iterator[str]:
    """What of some image files is read otherwise than it looks."""
    if not hasattr(dataset, 'get_data_info') or not len(dataset):
        return
    paths = {Path(str(dataset.get_data_info(index).get('img_path', ''))) for index in _some_of(dataset, SAMPLES)}
    remarks = {path: remark for path in sorted(paths) if path.is_file() and (remark := look_at(path).remark)}
    if remarks:
        path, remark = next(iter(remarks.items()))
        yield f'{len(remarks)} of {len(paths)} images looked at are read otherwise than they look, as {path}: {remark}.'


def _some_of(dataset: Dataset, count: int) -> list[int]:
    return np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int).tolist()


def _classes_of(dataset: Dataset) -> Sequence[str]:
    return getattr(dataset, 'metainfo', {}).get('classes') or ()


def _compare_classes(training: Sequence[str], validation: Sequence[str]) -> None:
    if training and validation and list(training) != list(validation):
        raise UnusableInputError(
            f'Training has {len(training)} classes and validation {len(validation)}, so that the same number means '
            f'another class: {_differences(training, validation, "training", "validation")}Let both have the same: '
            'empty folders count as well, or name them in both by metainfo=dict(classes=[...]).'
        )


def _compare_with_checkpoint(trained: Sequence[str], tested: Sequence[str]) -> Iterator[str]:
    """Refuse another number or order of classes; other names of as many may be other spellings, a remark."""
    if not trained or not tested or list(trained) == list(tested):
        return
    text = (
        f'The checkpoint has {len(trained)} classes and the test {len(tested)}: '
        f'{_differences(trained, tested, "the checkpoint", "the test")}'
    )
    if len(trained) != len(tested) or set(trained) == set(tested):
        raise UnusableInputError(f'{text}Let test_dataloader.dataset have those of the training, in their order.')
    yield f'{text}They are taken for the same, in this order.'


def _differences(ours: Sequence[str], theirs: Sequence[str], our_name: str, their_name: str) -> str:
    others = [name for name in theirs if name not in ours]
    missing = [name for name in ours if name not in theirs]
    return (
        f'{_some(f"only in {our_name}", missing)}{_some(f"only in {their_name}", others)}'
        f'{"" if missing or others else "the order differs. "}'
    )


def _some(what: str, names: Sequence[str]) -> str:
    return f'{what} {", ".join(map(str, names[:5]))}{" ..." if len(names) > 5 else ""}. ' if names else ''


def _heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The parts of a model of any of the three libraries that annotations are for, with their fields in the config."""
    student = getattr(model, 'student', {})
    for name in ('head', 'decode_head', 'task_head'):
        part = getattr(model, name, None)
        if isinstance(part, nn.ModuleList):  # of a cascade, whose last one gives the result
            part = part[-1]
        if isinstance(part, nn.Module):
            yield f'model.{name}', part
    if 'head' in student:
        yield 'model.head', student['head']


def _check_labels(dataset: Dataset, num_classes: int, field: str) -> None:
    for index in _some_of(dataset, LABELS):
        info = dataset.get_data_info(index)
        labels = np.atleast_1d(info['gt_label'])
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            wrong = labels.max() if labels.min() >= 0 else labels.min()
            raise UnusableInputError(
                f'{info.get("img_path", f"Image {index}")} has label {wrong}, '
                f'and {field}.num_classes is {num_classes}: its labels are 0 to {num_classes - 1}.'
            )


def _check_annotations(dataset: Dataset, head: nn.Module, field: str) -> None:
    indices = _some_of(dataset, SAMPLES)
    ignored = getattr(head, 'ignore_index', 255)
    for index in indices:
        sample = dataset[index]['data_samples']
        name = sample.get('seg_map_path') or sample.get('img_path') or f'Image {index}'
        if 'gt_sem_seg' in sample:
            values = sorted(set(sample.gt_sem_seg.data.unique().tolist()) - {ignored})
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


def _check_maps(dataset: Dataset, head: nn.Module, field: str) -> None:
    """Label maps of one class beside what is ignored: more of them are looked at before that is said."""
    ignored, seen, name = head.ignore_index, set(), None
    few, more = _some_of(dataset, SAMPLES), _some_of(dataset, MAPS)
    for number, index in enumerate([*few, *(index for index in more if index not in few)]):
        sample = dataset[index]['data_samples']
        if 'gt_sem_seg' not in sample:
            return
        seen |= set(sample.gt_sem_seg.data.unique().tolist())
        name = name or sample.get('seg_map_path') or f'Image {index}'
        if number >= len(few) - 1 and (ignored not in seen or len(seen) > 2 or head.num_classes < 2):
            return
    labels = f'all are {ignored}' if len(seen) == 1 else f'all pixels are {min(seen - {ignored})} or {ignored}'
    raise UnusableInputError(
        f'{number + 1} label maps, among them {name}, tell nothing apart: {labels}, and {ignored} is what {field} '
        f'ignores. Label maps hold the numbers of the classes, 0 to {head.num_classes - 1}.'
    )
