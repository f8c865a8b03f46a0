"""What is seen of the annotations before training begins."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmcls.engine import DataCheckHook
from mmcls.errors import UnusableInputError
from mmpretrain.registry import DATASETS
from mmseg.datasets import BaseSegDataset
from PIL import Image
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
    runner = SimpleNamespace(model=model, train_dataloader=SimpleNamespace(dataset=training), val_loop=val_loop)
    DataCheckHook().before_train(runner)


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
    with pytest.raises(UnusableInputError, match=r'None of 2 label maps, .* has a labelled pixel: all are 0'):
        look(label_maps(tmp_path, [0, 0]), head=head(num_classes=2, ignore_index=0), name='decode_head')


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
