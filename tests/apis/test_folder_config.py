"""How the images of a folder come to a student: held in memory where they fit."""

from pathlib import Path

import pytest
from mmcls.apis import folder_config
from mmcls.apis.folder_images import FolderImages
from mmcls.apis.networks import Network
from mmcls.errors import UnusableInputError
from mmengine.config import Config


def config(count, side, **settings):
    """The config for so many images, whose shorter side is so long, and a student that sees them at 32 pixels."""
    settings = folder_config.Settings(
        folder=Path('photos'), out=Path('out'), recipe=folder_config.RECIPE, gpus=1, epochs=2, lr=1e-3, seed=0,
        image_size=32, batch_size=8, workers=3, fitted_batch_size=8, **settings,
    )  # fmt: skip
    model = {'teacher': {'pretrained': 'x'}, 'timestep_policy': {'type': 'FixedPolicy'}, 'distill_loss': []}
    network = Network({'type': 'ResNet'}, None, (), [0.0] * 3, [1.0] * 3)
    found = FolderImages(count, side, [], [], '')
    return Config.fromstring(folder_config.config_text(settings, model | {'standardizer': None}, network, found), '.py')


def held_at(config):
    dataset = config.train_dataloader.dataset
    return dataset.dataset.pipeline[2].crop_size if dataset.type == 'ImagesInMemory' else None


def test_large_images_are_held_at_twice_the_students_size():
    assert [held_at(config(100, side)) for side in (20, 32, 63, 64, 4000)] == [32, 32, 32, 64, 64]
    assert config(100, 4000).data_preprocessor.augments[0] == {'type': 'BatchResizedCrop', 'size': 32}


def test_what_does_not_fit_is_held_at_the_students_size_or_decoded_anew():
    fits = int(folder_config.HELD * 2**30) // (3 * 32**2)
    assert [held_at(config(count, 64)) for count in (fits // 4, fits // 4 + 1, fits)] == [64, 32, 32]
    anew = config(fits + 1, 64)
    assert held_at(anew) is None
    assert anew.train_dataloader.num_workers == 3
    assert [step.type for step in anew.train_dataloader.dataset.pipeline] == [
        'LoadImageFromFile', 'RandomResizedCrop', 'RandomFlip', 'PackInputs',
    ]  # fmt: skip
    assert 'type' not in anew.data_preprocessor
    with pytest.raises(UnusableInputError, match='views=4: features are kept of images in memory'):
        config(fits + 1, 64, views=4)


def test_features_of_fixed_views_are_kept_where_asked():
    assert config(100, 32, views=4).model.feature_cache == {'views': 4}
    assert 'feature_cache' not in config(100, 32).model
