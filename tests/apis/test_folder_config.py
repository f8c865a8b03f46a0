"""How the images of a folder come to a student: held in memory where they fit."""

import shutil
from pathlib import Path

import pytest
from mmcls.apis import folder_config
from mmcls.apis.folder_images import FolderImages
from mmcls.apis.networks import Network
from mmcls.configs import find_image_size
from mmcls.errors import UnusableInputError
from mmengine.config import Config


@pytest.fixture
def config(tmp_path):
    """Makes the config for so many images, whose shorter side is so long, and a student that sees them at 32 pixels."""

    def make(count, side, **settings):
        settings = folder_config.Settings(
            folder=Path('photos'), out=tmp_path, recipe=folder_config.RECIPE, gpus=1, epochs=2, lr=1e-3, seed=0,
            image_size=32, batch_size=8, workers=3, fitted_batch_size=8, **settings,
        )  # fmt: skip
        model = {'teacher': {'pretrained': 'x'}, 'timestep_policy': {'type': 'FixedPolicy'}, 'distill_loss': []}
        network = Network({'type': 'ResNet'}, None, [0.0] * 3, [1.0] * 3, [])
        found = FolderImages(count, side, [], [], '')
        settings.held_side = folder_config.choose_held_side(settings, found)
        return folder_config.config_text(settings, model | {'standardizer': None}, network, found)

    return make


@pytest.fixture
def free(monkeypatch):
    """Sets how many bytes of the disk are free."""
    usage = shutil.disk_usage('/')
    return lambda number: monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage._replace(free=number))


@pytest.fixture(autouse=True)
def large_disk(free):
    free(10**13)


def held_at(text):
    dataset = Config.fromstring(text, '.py').train_dataloader.dataset
    if dataset.type != 'ImagesInMemory':
        return None
    resized, cropped = dataset.dataset.pipeline[1:3]
    assert resized.scale == cropped.crop_size
    return resized.scale


def test_large_images_are_held_at_twice_the_students_size(config):
    texts = [config(100, side) for side in (20, 32, 63, 64, 4000)]
    assert [held_at(text) for text in texts] == [32, 32, 32, 64, 64]
    large = Config.fromstring(texts[-1], '.py')
    assert large.data_preprocessor.augments[0] == {'type': 'BatchResizedCrop', 'size': 32}
    assert (find_image_size(large), find_image_size(large, augmented=False)) == (32, 64)


def test_what_does_not_fit_is_held_at_the_students_size_or_decoded_anew(config, free):
    fits = int(folder_config.MOST_HELD * 2**30) // (3 * 32**2)
    assert [held_at(config(count, 64)) for count in (fits // 4, fits // 4 + 1, fits)] == [64, 32, 32]
    anew = Config.fromstring(config(fits + 1, 64), '.py')
    assert anew.train_dataloader.num_workers == 3
    assert [step.type for step in anew.train_dataloader.dataset.pipeline] == [
        'LoadImageFromFile', 'RandomResizedCrop', 'RandomFlip', 'PackInputs',
    ]  # fmt: skip
    assert 'type' not in anew.data_preprocessor
    with pytest.raises(UnusableInputError, match='views=4: features are kept of images that are held in memory'):
        config(fits + 1, 64, views=4)
    free(2 * 100 * 3 * 32**2)
    assert [held_at(config(count, 64)) for count in (25, 100, 101)] == [64, 32, None]


def test_a_begun_training_keeps_what_it_holds(config, tmp_path):
    begun = config(100, 63)
    (tmp_path / folder_config.CONFIG).write_text(begun)
    assert config(10**9, 4000) == begun


def test_features_of_fixed_views_are_kept_where_asked(config):
    assert Config.fromstring(config(100, 32, views=4), '.py').model.feature_cache == {'views': 4}
    assert 'feature_cache' not in Config.fromstring(config(100, 32), '.py').model
