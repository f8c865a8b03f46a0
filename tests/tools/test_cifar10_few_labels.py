from collections import Counter
from itertools import pairwise

import cifar10_few_labels as script
import pytest
from prepare_scripts import contents, expect, run

CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Another copy of the images, fewer of them: 20 of each class to train on, 5 to choose by, 2 to test."""
    import numpy as np
    from PIL import Image

    counts = {'NUM_TRAIN': 20, 'NUM_VAL': 5, 'NUM_SHORT_VAL': 1, 'NUM_TEST': 2}
    for name, value in counts.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr(script, 'LABEL_COUNTS', (20, 50, 100, 200))
    monkeypatch.setattr(script, 'FIXED_FROM', 100)
    lists = ['val', 'val_1000', 'test', *(f'train_{n}_{k}' for n in (20, 50, 100, 200) for k in range(5))]
    monkeypatch.setattr(script, 'LISTS', lists)
    monkeypatch.setattr(script, 'WHOLE', 'train_200_0')
    folder = tmp_path / 'copy'
    for split, count in (('train', 25), ('test', 2)):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(folder / split / name / f'{index:04d}.png')
    return folder


def labels(folder, name):
    return dict(line.split() for line in (folder / 'meta' / f'{name}.txt').read_text().splitlines())


def test_lists_are_nested_stratified_and_apart(copy, tmp_path):
    folder = tmp_path / 'few'
    run(script, folder, '--images', copy)
    run(script, folder, '--check')
    whole, val, test = (labels(folder, name) for name in ('train_200_0', 'val', 'test'))
    assert (len(whole), len(val), len(test)) == (200, 50, 20)
    assert not whole.keys() & val.keys()
    assert labels(folder, 'val_1000').items() <= val.items()
    assert all(int(name.rpartition('/')[2][:4]) >= 20 for name in val)  # the last of each class
    drawn = set()
    for k in range(5):
        chain = [labels(folder, f'train_{count}_{k}') for count in (20, 50, 100, 200)]
        for few, more in pairwise(chain):
            assert few.items() <= more.items()
            assert len(set(Counter(few.values()).values())) == 1
        drawn.add(frozenset(chain[0]))
        assert chain[2] == labels(folder, 'train_100_0')  # from 4,000 on, the same for every K
    assert len(drawn) == 5
    for name, label in whole.items():
        assert name.split('/')[1] == CLASSES[int(label)]


def test_other_images_and_other_folders_are_refused(copy, tmp_path):
    folder = tmp_path / 'few'
    (copy / 'train/cat/0003.png').unlink()
    with expect('holds', "'cat': 24", 'expected 25 of each of 10 classes'):
        run(script, folder, '--images', copy)
    assert not folder.exists()
    assert not list(tmp_path.glob('*.partial'))
    (copy / 'train/cat/0003.png').write_bytes((copy / 'train/cat/0004.png').read_bytes())
    run(script, folder, '--images', copy)
    before = contents(folder)
    run(script, folder, '--images', copy)
    assert contents(folder) == before
    with expect('is of other images than'):
        run(script, folder, '--images', tmp_path)
    (folder / 'meta/val.txt').unlink()
    with expect('lists are missing: val'):
        run(script, folder, '--check')
    with expect('is not complete, or holds something else'):
        run(script, folder, '--images', copy)


def test_without_cifar10_it_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(script.cifar10, 'FOLDER', tmp_path / 'none')
    with expect('data_batch_1 is missing', 'python tools/prepare_data/cifar10.py downloads it', '--images'):
        run(script, tmp_path / 'few')
    assert not list(tmp_path.glob('few*'))
