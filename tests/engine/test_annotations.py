"""What is seen of the annotations before training begins."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmcls.engine import DataCheckHook
from mmcls.errors import UnusableInputError
from mmpretrain.registry import DATASETS
from mmseg.datasets import BaseSegDataset
from PIL import Image
from small_runner import Linear, small_runner
from torch import nn

PIPELINE = [{'type': 'LoadImageFromFile'}, {'type': 'PackInputs'}]


def folder_of_classes(folder, classes):
    for name in classes:
        (folder / name).mkdir(parents=True)
        Image.new('RGB', (4, 4)).save(folder / name / 'one.png')
    return DATASETS.build({'type': 'CustomDataset', 'data_prefix': str(folder), 'pipeline': PIPELINE})


def look(training, validation=None, head=None, name='head'):
    model = nn.Module()
    if head is not None:
        setattr(model, name, head)
    val_loop = None if validation is None else SimpleNamespace(dataloader=SimpleNamespace(dataset=validation))
    logged = []
    runner = SimpleNamespace(
        model=model,
        train_dataloader=SimpleNamespace(dataset=training),
        val_loop=val_loop,
        logger=SimpleNamespace(warning=lambda line, extra=None: logged.append(line)),
    )
    hook = DataCheckHook()
    hook.before_train(runner)
    assert hook.remarks == logged
    return logged


def head(**attributes):
    module = nn.Module()
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def test_classes_of_training_and_validation_are_compared(tmp_path):
    training = folder_of_classes(tmp_path / 'train', ['blue', 'green', 'red'])
    look(training, folder_of_classes(tmp_path / 'val', ['blue', 'green', 'red']))
    with pytest.raises(UnusableInputError, match=r'has 3 classes and validation 2.* only in training blue\.'):
        look(training, folder_of_classes(tmp_path / 'less', ['green', 'red']))
    with pytest.raises(UnusableInputError, match=r'only in training blue\. only in validation violet\.'):
        look(training, folder_of_classes(tmp_path / 'other', ['green', 'red', 'violet']))


def test_labels_are_those_of_the_head(tmp_path):
    training = folder_of_classes(tmp_path, ['blue', 'green', 'red'])
    look(training, head=head(num_classes=3))
    with pytest.raises(UnusableInputError, match=r'red/one.png has label 2, and model\.task_head\.num_classes is 2'):
        look(training, head=head(num_classes=2), name='task_head')


def label_maps(folder, values):
    for index, value in enumerate(values):
        for kind in ('images', 'maps'):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 4)).save(folder / f'images/{index}.jpg')
        Image.fromarray(np.array([[value, 0], [0, value]], np.uint8)).save(folder / f'maps/{index}.png')
    return BaseSegDataset(
        data_root=str(folder),
        data_prefix={'img_path': 'images', 'seg_map_path': 'maps'},
        metainfo={'classes': ('none', 'face')},
        pipeline=[
            {'type': 'mmseg.LoadImageFromFile'},
            {'type': 'mmseg.LoadAnnotations'},
            {'type': 'mmseg.PackSegInputs'},
        ],
    )


def test_label_maps_hold_the_classes(tmp_path):
    decoder = head(num_classes=2, ignore_index=255)
    look(label_maps(tmp_path / 'right', [0, 1, 255]), head=decoder, name='decode_head')
    with pytest.raises(
        UnusableInputError, match=r'1.png has pixels of \[7\], and model\.decode_head\.num_classes is 2'
    ):
        look(label_maps(tmp_path / 'wrong', [1, 7]), head=decoder, name='decode_head')


def test_label_maps_that_are_all_ignored_are_refused(tmp_path):
    with pytest.raises(UnusableInputError, match=r'2 label maps, .* tell nothing apart: all are 0'):
        look(label_maps(tmp_path, [0, 0]), head=head(num_classes=2, ignore_index=0), name='decode_head')


def test_label_maps_of_0_and_255_are_refused(tmp_path):
    masks = label_maps(tmp_path, [255, 255])
    with pytest.raises(UnusableInputError, match=r'tell nothing apart: all pixels are 0 or 255, and 255 is what'):
        look(masks, head=head(num_classes=2, ignore_index=255), name='decode_head')


def test_folders_of_a_system_are_no_classes(tmp_path):
    for name in ('.ipynb_checkpoints', '__MACOSX'):
        with pytest.raises(UnusableInputError, match=rf'{name} would be a class of 3: it is a folder of the system'):
            look(folder_of_classes(tmp_path / name, ['cats', 'dogs', name]))


def test_files_that_are_read_otherwise_than_they_look_are_remarked(tmp_path):
    training = folder_of_classes(tmp_path, ['blue', 'green'])
    assert look(training) == []
    Image.new('RGBA', (4, 4), (9, 9, 9, 0)).save(tmp_path / 'green/one.png')
    (remark,) = look(training)
    assert f'1 of 2 images looked at are read otherwise than they look, as {tmp_path}/green/one.png: transp' in remark


def test_a_map_of_one_pixel_is_remarked():
    class NoData:
        metainfo: dict = {}  # noqa: RUF012

        def __len__(self):
            return 0

    model = nn.Module()
    model.map_sizes = [(4, 4), (1, 1)]
    runner = SimpleNamespace(
        model=model,
        train_dataloader=SimpleNamespace(dataset=NoData()),
        val_loop=None,
        logger=SimpleNamespace(warning=lambda *_, **__: None),
    )
    hook = DataCheckHook()
    hook.before_train(runner)
    assert 'Map 2 of 2 that the student gives is 1x1' in hook.remarks[0]
    assert '--image-size' in hook.remarks[0]


@pytest.mark.parametrize(('images', 'side', 'fits'), [(9, 1, False), (9, 2, True), (8, 1, True)])
def test_a_last_batch_of_one_that_batch_norm_cannot_take_ends_the_first_step(tmp_path, images, side, fits):
    class Normed(Linear):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(1)

        def forward(self, inputs, data_samples=None, mode='tensor'):
            maps = torch.stack(inputs).float().view(-1, 1, 1, 1).expand(-1, 1, side, side)
            return {'loss': self.norm(maps).square().mean() + self.layer.weight.sum()}

    runner = small_runner(tmp_path, images=images, epochs=1, custom_hooks=[DataCheckHook()])
    runner.model = Normed()
    if fits:
        runner.train()
        return
    with pytest.raises(UnusableInputError, match=r'9 images in batches of 2 leave one for the last batch .* norm sees'):
        runner.train()
    assert runner.iter == 0


def test_a_test_has_the_classes_of_the_checkpoint(tmp_path):
    def check(classes):
        hook = DataCheckHook()
        hook.after_load_checkpoint(None, {'meta': {'dataset_meta': {'classes': ('blue', 'green', 'red')}}})
        dataset = folder_of_classes(tmp_path / '-'.join(classes), classes)
        hook.before_test(SimpleNamespace(model=nn.Module(), test_dataloader=SimpleNamespace(dataset=dataset)))

    check(['blue', 'green', 'red'])
    with pytest.raises(
        UnusableInputError, match=r'The checkpoint has 3 classes and the test 2.* only in the checkpoint'
    ):
        check(['green', 'red'])


def test_landmarks_are_as_many_as_the_models():
    class Points:
        metainfo: dict = {}  # noqa: RUF012

        def __len__(self):
            return 3

        def __getitem__(self, index):
            fields = {'heatmaps': np.zeros((98, 4, 4))}
            fields = type('Fields', (dict,), {'heatmaps': fields['heatmaps']})(fields)
            sample = type('Sample', (dict,), {'gt_fields': fields})({'gt_fields': fields, 'img_path': 'face.jpg'})
            return {'data_samples': sample}

    look(Points(), head=head(out_channels=98))
    with pytest.raises(UnusableInputError, match=r'face.jpg has 98 landmarks, and model\.head\.out_channels is 68'):
        look(Points(), head=head(out_channels=68))
