"""ImageNet and Tiny-ImageNet: layout and labels."""

import shutil
from pathlib import Path

import imagenet
import pytest
import small_datasets
import tiny_imagenet
from mmpretrain.datasets import CustomDataset
from prepare_scripts import contents, expect, images, run, set_small_counts


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    set_small_counts(monkeypatch)
    monkeypatch.setattr(imagenet, 'NUM_IMAGES', {'train': 2000, 'val': 1000})


def test_tiny_imagenet_is_read_with_the_right_classes(tmp_path):
    folder = tmp_path / 'tiny-imagenet-200'
    run(tiny_imagenet, folder, '--archive', small_datasets.write_raw_tiny_imagenet(tmp_path))
    labels = tiny_imagenet.read_labels(
        small_datasets.tiny_imagenet_files(3, 6, 2, prepared=False)['val/val_annotations.txt'].decode()
    )
    val = CustomDataset(str(folder), data_prefix='val')
    assert {Path(item['img_path']).name: val.CLASSES[item['gt_label']] for item in val} == labels
    assert val.CLASSES == CustomDataset(str(folder), data_prefix='train').CLASSES
    assert not (folder / 'test').exists()


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda text: text[: text.index('val_3.JPEG') + 12], 'no WordNet ids: val_3.JPEG'),
        (lambda text: ''.join(text.splitlines(keepends=True)[1:]), 'holds 5 labelled val images; Tiny-ImageNet has 6'),
    ],
)
def test_tiny_imagenet_with_spoilt_labels(tmp_path, spoil, message):
    files = small_datasets.tiny_imagenet_files(3, 6, 2, prepared=False)
    files['val/val_annotations.txt'] = spoil(files['val/val_annotations.txt'].decode()).encode()
    archive = small_datasets.write_zip(
        tmp_path / 'raw.zip', {f'tiny-imagenet-200/{name}': content for name, content in files.items()}
    )
    with expect(message, tiny_imagenet.URL):
        run(tiny_imagenet, tmp_path / 'data' / 'tiny', '--archive', archive)
    assert not (tmp_path / 'data').exists()


@pytest.fixture
def raw_folder(tmp_path):
    """Tiny-ImageNet as unzip leaves it."""
    shutil.unpack_archive(small_datasets.write_raw_tiny_imagenet(tmp_path), tmp_path)
    return tmp_path / 'tiny-imagenet-200'


def test_tiny_imagenet_unpacked_by_hand_is_laid_out_in_place(raw_folder, monkeypatch):
    with expect('val/images holds validation images'):
        run(tiny_imagenet, raw_folder, '--check')
    train = contents(raw_folder / 'train')
    rename = Path.rename

    def interrupted(path, target):
        if path.name == 'val_3.JPEG':
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as killed:
        killed.setattr(Path, 'rename', interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_imagenet, raw_folder)
    assert 0 < len(images(raw_folder / 'val' / 'images')) < 6
    run(tiny_imagenet, raw_folder)
    run(tiny_imagenet, raw_folder, '--check')
    assert contents(raw_folder / 'train') == train
    assert len(images(raw_folder / 'val')) == 6


def test_tiny_imagenet_unpacked_by_hand_without_its_labels(raw_folder):
    annotations = raw_folder / 'val' / 'val_annotations.txt'
    text = annotations.read_text()
    annotations.unlink()
    with expect('no val_annotations.txt'):
        run(tiny_imagenet, raw_folder)
    annotations.write_text(''.join(text.splitlines(keepends=True)[:-1]))
    with expect('does not name: val_5.JPEG'):
        run(tiny_imagenet, raw_folder)
    annotations.write_text(text.replace('n0', 'x0'))
    with expect('no WordNet ids: val_0.JPEG x0'):
        run(tiny_imagenet, raw_folder)
    assert len(images(raw_folder / 'val' / 'images')) == 6


def test_imagenet_complete_and_not(tmp_path, capsys):
    folder = small_datasets.write_imagenet(tmp_path, train=2)
    before = contents(folder)
    run(imagenet, folder, '--check')
    assert '1,000 classes' in capsys.readouterr().out
    some, other = small_datasets.WORDNET_IDS[7:9]
    (folder / 'val' / some).rename(folder / 'val' / 'tench')
    (folder / 'train' / other / f'{other}_0.JPEG').unlink()
    (folder / 'train' / other / f'{other}_1.JPEG').unlink()
    with expect(
        f'val: 1 of 1,000 class folders are missing: {some}',
        "val: folders that are none of ImageNet's 1,000 classes: tench",
        f'train: 1,998 of 2,000 images; empty: {other}',
        'torchvision',
    ):
        run(imagenet, folder)
    assert contents(folder).keys() < {*before, f'val/tench/ILSVRC2012_val_{8:08d}.JPEG'}


def test_imagenet_flat_validation_folder_and_broken_image(tmp_path):
    folder = small_datasets.write_imagenet(tmp_path, train=2)
    for path in images(folder / 'val'):
        path.rename(folder / 'val' / path.name)
        path.parent.rmdir()
    first = images(folder / 'train')[0]
    first.write_bytes(first.read_bytes()[:300])
    with expect('val holds images, not 1,000 class folders', f"ImageNet('{folder}', 'val')", first.name):
        run(imagenet, folder, '--check')
    with expect('train is missing', 'val is missing', imagenet.URL):
        run(imagenet, tmp_path / 'none')
