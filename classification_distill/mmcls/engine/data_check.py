"""A look at the data: whether classes, labels, landmarks and batches are what the model and validation take."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Dataset

from ..datasets.image_files import look_at
from ..errors import UnusableInputError
from ..weights import unwrap
from .terminal import AT_TERMINAL

LABELS, SAMPLES = 2000, 16  # images whose label, or which as a whole, are looked at
SYSTEM_FOLDERS = ('.', '__MACOSX', '@eaDir')  # how the names of folders begin that hold no class


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Look at some of the data before training or a test, and at the last batch of an epoch after the first step.

    What is odd is logged in a line each.

    Attributes:
        remarks (list[str]): What is odd.

    Raises:
        UnusableInputError: When the classes of training and validation, or of the checkpoint and the test, differ, or
            one is a system's folder; when a label or a value of a label map is none of the model's classes; when label
            maps tell nothing apart; when there are more or fewer landmarks than the model has; or when the last batch
            would be one image, which batch norm cannot take where a map is 1x1.
    """

    def __init__(self):
        self.remarks: list[str] = []
        self._single: str | None = None  # the first batch norm that sees one value of each image
        self._watched: list = []
        self._trained_classes: Sequence[str] = ()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        self._trained_classes = (checkpoint.get('meta', {}).get('dataset_meta') or {}).get('classes') or ()

    def before_train(self, runner) -> None:
        model, loader = unwrap(runner.model), runner.train_dataloader
        if runner.val_loop is not None:
            validation = _classes_of(runner.val_loop.dataloader.dataset)
            _compare_classes(_classes_of(loader.dataset), validation, 'training', 'validation')
        self.remarks = [*_small_maps(model), *_look(model, loader.dataset)]
        for remark in self.remarks:
            runner.logger.warning(remark, extra=AT_TERMINAL)
        if _last_batch(loader) == 1:
            for name, module in model.named_modules():
                if isinstance(module, _BatchNorm):
                    self._watched.append(module.register_forward_pre_hook(self._watch(name)))

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self.check_last_batch(runner.train_dataloader)

    def before_test(self, runner) -> None:
        dataset = runner.test_dataloader.dataset
        _compare_classes(self._trained_classes, _classes_of(dataset), 'the checkpoint', 'the test')
        for remark in _look(unwrap(runner.model), dataset):
            runner.logger.warning(remark, extra=AT_TERMINAL)

    def check_last_batch(self, loader: DataLoader) -> None:
        """After a step: see ``DataCheckHook``."""
        for handle in self._watched:
            handle.remove()
        self._watched = []
        if self._single:
            raise UnusableInputError(
                f'{len(loader.dataset)} images in batches of {loader.batch_size} leave one for the last batch of an '
                f'epoch, of which {self._single} sees a single value: batch norm cannot be trained on that. Set '
                'train_dataloader.drop_last=True, or another batch_size.'
            )

    def _watch(self, name: str):
        def watch(module: nn.Module, args: tuple) -> None:
            if module.training and args[0][0, 0].numel() == 1:
                self._single = self._single or name

        return watch


def _last_batch(loader: DataLoader) -> int:
    """Images of the last batch of an epoch, 0 where it is as large as the others, or there is none."""
    sampler = getattr(loader, 'sampler', None)
    if not isinstance(sampler, DefaultSampler) or loader.drop_last or not loader.batch_size:
        return 0
    return len(sampler) % loader.batch_size


def _small_maps(model: nn.Module) -> Iterator[str]:
    sizes = getattr(model, 'map_sizes', [])
    if (1, 1) in sizes:
        yield (
            f'Map {sizes.index((1, 1)) + 1} of {len(sizes)} that the student gives is 1x1, so that it cannot tell '
            'where something is. Larger images (--image-size), or a student that halves them less often, keep a map.'
        )


def _look(model: nn.Module, dataset: Dataset) -> list[str]:
    """Labels and annotations of some images, and the remarks on them."""
    _refuse_system_folders(dataset)
    for field, head in _heads(model):
        has_labels = hasattr(dataset, 'get_data_info') and 'gt_label' in dataset.get_data_info(0)
        if has_labels and hasattr(head, 'num_classes'):
            _check_labels(dataset, head.num_classes, field)
        _check_annotations(dataset, head, field)
    return list(_look_at_files(dataset))


def _refuse_system_folders(dataset: Dataset) -> None:
    classes = _classes_of(dataset)
    if names := [name for name in classes if str(name).startswith(SYSTEM_FOLDERS)]:
        raise UnusableInputError(
            f'{", ".join(names)} would be a class of {len(classes)}: it is a folder of the system. Delete it, or name '
            'the classes by classes=[...].'
        )


def _look_at_files(dataset: Dataset) -> Iterator[str]:
    """What of some image files is read otherwise than it looks."""
    if not hasattr(dataset, 'get_data_info') or not len(dataset):
        return
    paths = {Path(str(dataset.get_data_info(index).get('img_path', ''))) for index in _some_of(dataset, SAMPLES)}
    remarks = {path: remark for path in sorted(paths) if path.is_file() and (remark := look_at(path)[1])}
    if remarks:
        path, remark = next(iter(remarks.items()))
        yield f'{len(remarks)} of {len(paths)} images looked at are read otherwise than they look, as {path}: {remark}.'


def _some_of(dataset: Dataset, count: int) -> list[int]:
    return np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int).tolist()


def _classes_of(dataset: Dataset) -> Sequence[str]:
    return getattr(dataset, 'metainfo', {}).get('classes') or ()


def _compare_classes(ours: Sequence[str], theirs: Sequence[str], our_name: str, their_name: str) -> None:
    if ours and theirs and list(ours) != list(theirs):
        others = [name for name in theirs if name not in ours]
        missing = [name for name in ours if name not in theirs]
        raise UnusableInputError(
            f'{our_name[0].upper()}{our_name[1:]} has {len(ours)} classes and {their_name} {len(theirs)}, so that the '
            f'same number means another class: {_some(f"only in {our_name}", missing)}'
            f'{_some(f"only in {their_name}", others)}{"" if missing or others else "the order differs. "}Let both '
            'have the same: empty folders count as well, or name them in both by metainfo=dict(classes=[...]).'
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
    ignored, seen = getattr(head, 'ignore_index', 255), set()
    for index in indices:
        sample = dataset[index]['data_samples']
        name = sample.get('seg_map_path') or sample.get('img_path') or f'Image {index}'
        if 'gt_sem_seg' in sample:
            found = set(sample.gt_sem_seg.data.unique().tolist())
            seen |= found
            values = sorted(found - {ignored})
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
    if 'gt_sem_seg' in sample and ignored in seen and len(seen) < 3 and head.num_classes > 1:
        labels = f'all are {ignored}' if len(seen) == 1 else f'all pixels are {min(seen - {ignored})} or {ignored}'
        raise UnusableInputError(
            f'{len(indices)} label maps, among them {name}, tell nothing apart: {labels}, and {ignored} is what '
            f'{field} ignores. Label maps hold the numbers of the classes, 0 to {head.num_classes - 1}.'
        )
