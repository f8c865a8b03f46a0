"""What is seen of the annotations before training begins."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmcls.engine import DataCheckHook, LastBatchHook
from mmcls.errors import UnusableInputError
from mmengine.config import Config
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
    runner.cfg, runner.distributed = Config(), False
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


def test_of_a_cascade_the_last_head_counts(tmp_path):
    heads = nn.ModuleList([head(num_classes=9), head(num_classes=2, ignore_index=255)])
    with pytest.raises(UnusableInputError, match=r'has pixels of \[7\], and model\.decode_head\.num_classes is 2'):
        look(label_maps(tmp_path, [1, 7]), head=heads, name='decode_head')


def test_label_maps_that_are_all_ignored_are_refused(tmp_path):
    with pytest.raises(UnusableInputError, match=r'2 label maps, .* tell nothing apart: all are 0'):
        look(label_maps(tmp_path, [0, 0]), head=head(num_classes=2, ignore_index=0), name='decode_head')


def test_a_class_that_is_rare_is_no_class_that_is_missing(tmp_path):
    decoder = head(num_classes=2, ignore_index=255)
    assert look(label_maps(tmp_path, [*[255] * 20, 1, *[255] * 9]), head=decoder, name='decode_head') == []


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


def remarks_on_maps(image_size, data_size):
    class NoData:
        metainfo: dict = {}  # noqa: RUF012

        def __len__(self):
            return 0

    model = nn.Module()
    model.map_sizes, model.image_size = [(4, 4), (1, 1)], image_size
    dataset = {'type': 'CustomDataset', 'pipeline': [{'type': 'RandomResizedCrop', 'scale': data_size}]}
    runner = SimpleNamespace(
        model=model,
        cfg=Config({'model': {}, 'train_dataloader': {'dataset': dataset}}),
        train_dataloader=SimpleNamespace(dataset=NoData()),
        val_loop=None,
        logger=SimpleNamespace(warning=lambda *_, **__: None),
    )
    hook = DataCheckHook()
    hook.before_train(runner)
    return hook.remarks


def test_a_map_of_one_pixel_is_remarked():
    (remark,) = remarks_on_maps(32, 32)
    assert 'Map 2 of 2 that the student gives is 1x1' in remark
    assert '--image-size' in remark
    assert not remarks_on_maps(32, 224)  # where it is no map of one pixel


@pytest.mark.parametrize(
    ('images', 'side', 'norm', 'fits'),
    [
        (9, 1, nn.BatchNorm2d, False),
        (9, 1, nn.BatchNorm1d, False),
        (9, 2, nn.BatchNorm2d, True),
        (9, 2, nn.BatchNorm1d, True),  # of the tokens of all images
        (8, 1, nn.BatchNorm2d, True),
    ],
)
def test_a_last_batch_of_one_that_batch_norm_cannot_take_ends_the_first_step(tmp_path, images, side, norm, fits):
    class Normed(Linear):
        def __init__(self):
            super().__init__()
            self.norm = norm(1)

        def forward(self, inputs, data_samples=None, mode='tensor'):
            maps = torch.stack(inputs).float().view(-1, 1, 1, 1).expand(-1, 1, side, side)
            if norm is nn.BatchNorm1d:
                maps = maps.flatten()[:, None]
            return {'loss': self.norm(maps).square().mean() + self.layer.weight.sum()}

    runner = small_runner(tmp_path, images=images, epochs=1, custom_hooks=[LastBatchHook()])
    runner.model = Normed()
    if fits:
        runner.train()
        return
    with pytest.raises(UnusableInputError, match=r'9 images in batches of 2 leave one for the last batch .* norm sees'):
        runner.train()
    assert runner.iter == 0


def test_a_test_has_the_classes_of_the_checkpoint(tmp_path):
    def check(classes):
        logged = []
        hook = DataCheckHook()
        hook.after_load_checkpoint(None, {'meta': {'dataset_meta': {'classes': ('blue', 'green', 'red')}}})
        dataset = folder_of_classes(tmp_path / '-'.join(classes), classes)
        loader = SimpleNamespace(dataset=dataset)
        logger = SimpleNamespace(warning=lambda line, extra=None: logged.append(line))
        hook.before_test(SimpleNamespace(model=nn.Module(), test_dataloader=loader, logger=logger))
        return logged

    assert check(['blue', 'green', 'red']) == []
    with pytest.raises(
        UnusableInputError, match=r'The checkpoint has 3 classes and the test 2.* only in the checkpoint'
    ):
        check(['green', 'red'])
    (remark,) = check(['b', 'g', 'r'])  # which may be another spelling
    assert remark.endswith('only in the test b, g, r. They are taken for the same, in this order.')


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
