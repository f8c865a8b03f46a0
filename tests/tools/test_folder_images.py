"""Which files of a folder are images, and of which class."""

import os
import shutil

import cv2
import numpy as np
import pytest
from mmcls.apis.folder_images import list_images
from mmcls.datasets.image_files import Look
from mmcls.errors import UnusableInputError
from mmpretrain.registry import DATASETS
from PIL import Image


def look(folder, out, with_classes, begun=False):
    """What was found, written as a training reads it."""
    found = list_images(folder, out, with_classes, begun)
    (out / 'images.json').write_text(found.annotations)
    return found


def listed(out):
    """What a training would read, relative to the folder."""
    dataset = DATASETS.build({'type': 'BaseDataset', 'ann_file': str(out / 'images.json')})
    return [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]


def test_folders_without_images_or_classes(tmp_path):
    out, folder = tmp_path / 'out', tmp_path / 'folder'
    out.mkdir()
    (folder / 'one').mkdir(parents=True)
    with pytest.raises(UnusableInputError, match=r'folder holds no images: expected files that end in \.jpg'):
        look(folder, out, False)
    (folder / 'one' / '0.jpg').touch()
    with pytest.raises(UnusableInputError, match=r'None of the 1 images in .* can be read'):
        look(folder, out, False)
    Image.new('RGB', (8, 8)).save(folder / 'one' / '0.jpg')
    with pytest.raises(UnusableInputError, match="one subfolder alone, 'one'"):
        look(folder, out, True)
    Image.new('RGB', (8, 8)).save(folder / '1.png')
    with pytest.raises(UnusableInputError, match=r'1 images lie in no subfolder of .* \(1\.png\)'):
        look(folder, out, True)
    assert look(folder, out, False).count == 2


def test_results_inside_the_folder_are_no_images_of_it(tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    for path in (tmp_path / '0.png', out / 'picture.png'):
        Image.new('RGB', (8, 8)).save(path)
    for _ in range(2):
        assert look(tmp_path, out, False).count == 1
    assert listed(out) == ['0.png']


@pytest.fixture
def photos(tmp_path):
    """Two folders of one image each, and a folder for the results."""
    (tmp_path / 'out').mkdir()
    for name in ('cats', 'dogs'):
        (tmp_path / 'photos' / name).mkdir(parents=True)
        Image.new('RGB', (8, 8)).save(tmp_path / 'photos' / name / '0.png')
    return tmp_path / 'photos'


def names(photos):
    look(photos, photos.parent / 'out', False)
    return listed(photos.parent / 'out')


def test_a_link_to_the_folder_that_it_lies_in_is_not_followed(photos):
    (photos / 'again').symlink_to('.')
    (photos / 'cats/all').symlink_to('..')
    (photos / 'cats/absolute').symlink_to(photos)
    assert names(photos) == ['cats/0.png', 'dogs/0.png']


def test_a_folder_that_is_named_by_a_link(photos):
    (photos / 'cats/all').symlink_to('..')
    link = photos.parent / 'link'
    link.symlink_to(photos)
    assert names(link) == ['cats/0.png', 'dogs/0.png']


def test_links_between_two_folders_end(photos):
    (photos / 'cats/friends').symlink_to('../dogs')
    (photos / 'dogs/friends').symlink_to('../cats')
    assert names(photos) == ['cats/0.png', 'cats/friends/0.png', 'dogs/0.png', 'dogs/friends/0.png']


def test_links_to_other_folders_are_followed(photos, tmp_path):
    (tmp_path / 'elsewhere/old').mkdir(parents=True)
    Image.new('RGB', (8, 8)).save(tmp_path / 'elsewhere/old/1.png')
    (tmp_path / 'elsewhere/back').symlink_to(photos)
    (photos / 'more').symlink_to(tmp_path / 'elsewhere')
    (photos / 'cats/more').symlink_to(tmp_path / 'elsewhere')
    assert names(photos) == ['cats/0.png', 'cats/more/old/1.png', 'dogs/0.png', 'more/old/1.png']


def test_links_to_files_are_images_of_their_own(photos):
    (photos / 'dogs/1.png').symlink_to('../cats/0.png')
    (photos / 'dogs/2.png').symlink_to('2.png')
    assert names(photos) == ['cats/0.png', 'dogs/0.png', 'dogs/1.png']
    assert 'symbolic links' in (photos.parent / 'out/files.jsonl').read_text()


def test_any_name_that_the_file_system_allows(photos, capsys):
    odd = ['a\nb.png', " it's 1.png", 'ä {} "q".png', 'tab\t.png', os.fsdecode(b'caf\xe9.png')]
    for name in odd:
        shutil.copy(photos / 'cats/0.png', photos / name)
        (photos / name.replace('png', 'jpg')).touch()
    found = look(photos, photos.parent / 'out', False)
    assert sorted(listed(photos.parent / 'out')) == sorted([*odd, 'cats/0.png', 'dogs/0.png'])
    print(*found.notes)  # whatever the terminal's encoding
    assert len(capsys.readouterr().out.splitlines()) == 6
    dataset = DATASETS.build({
        'type': 'BaseDataset', 'data_root': str(photos), 'ann_file': str(photos.parent / 'out/images.json'),
        'pipeline': [{'type': 'LoadImageFromFile'}],
    })  # fmt: skip
    assert all(dataset[index]['img'].shape == (8, 8, 3) for index in range(len(dataset)))


def test_hidden_and_system_folders_are_no_classes(photos):
    for name in ('.ipynb_checkpoints', '__MACOSX', '@eaDir', 'cats/.thumbs'):
        (photos / name).mkdir()
        shutil.copy(photos / 'cats/0.png', photos / name / '1.png')
    shutil.copy(photos / 'cats/0.png', photos / 'cats/._0.png')
    found = look(photos, photos.parent / 'out', True)
    assert (found.classes, listed(photos.parent / 'out')) == (['cats', 'dogs'], ['cats/0.png', 'dogs/0.png'])
    assert found.notes == [
        '5 hidden files and folders are left out: .ipynb_checkpoints/, @eaDir/, __MACOSX/, cats/._0.png, cats/.thumbs/'
    ]


def test_kinds_of_images_that_are_read_and_that_are_passed_over(photos):
    image = Image.open(photos / 'cats/0.png')
    for end in ('gif', 'jfif', 'avif', 'jp2', 'webp', 'dib'):
        image.save(photos / f'1.{end}', {'jfif': 'JPEG', 'jp2': 'JPEG2000', 'dib': 'BMP'}.get(end))
    for name in ('1.heic', '2.HEIC', '3.svg', 'notes.txt'):
        (photos / name).touch()
    found = look(photos, photos.parent / 'out', False)
    assert found.count == 2 + 6
    assert found.notes == ['3 files are of kinds that cannot be read: 1.heic, 2.HEIC, 3.svg']
    (photos / 'others').mkdir()
    (photos / 'others/4.heic').touch()
    with pytest.raises(
        UnusableInputError, match=r'holds no images.*; 1 files are of kinds that cannot be read: 4\.heic'
    ):
        look(photos / 'others', photos.parent / 'out', False)


def test_images_that_are_read_otherwise_than_they_look_are_named(photos):
    full = (np.random.default_rng(0).random((8, 8, 3)) * 65535).astype(np.uint16)
    cv2.imwrite(str(photos / 'full.png'), full)
    cv2.imwrite(str(photos / 'twelve.png'), full >> 4)
    cv2.imwrite(str(photos / 'float.tiff'), np.float32(full / 65535))
    Image.new('RGBA', (8, 8), (255, 0, 0, 0)).save(photos / 'hidden.png')
    Image.new('LA', (8, 8), (255, 9)).save(photos / 'gray.png')
    Image.new('RGBA', (8, 8), (255, 0, 0, 255)).save(photos / 'opaque.png')
    unreadable, note = look(photos, photos.parent / 'out', False).notes
    assert 'float.tiff: its numbers are float32, not 8 or 16 bits' in unreadable
    assert note.startswith('3 are read otherwise than they look')
    assert 'twelve.png: nearly black: its uint16 values end at 4' in note
    assert 'hidden.png: transparent parts are read with the colours that lie hidden there' in note
    assert 'gray.png: transparent' in note


def test_what_is_repaired_added_or_removed_is_seen_by_the_next_call(photos):
    (photos / 'broken.png').touch()
    out = photos.parent / 'out'
    assert 'broken.png: it is empty' in look(photos, out, False).notes[0]
    shutil.copy(photos / 'cats/0.png', photos / 'broken.png')
    found = look(photos, out, False, begun=True)
    assert found.count == 3
    assert found.notes == [
        '1 images have come or gone since the training began (broken.png): '
        'what is left of it sees those that are there.'
    ]
    assert look(photos, out, False, begun=True).notes == []
    (photos / 'dogs/0.png').unlink()
    assert look(photos, out, False, begun=True).count == 2


def test_classes_of_a_begun_training_stay(photos):
    out = photos.parent / 'out'
    look(photos, out, True)
    (photos / 'birds').mkdir()
    shutil.copy(photos / 'cats/0.png', photos / 'birds/0.png')
    with pytest.raises(UnusableInputError, match=r'has cats, dogs, and now there are birds, cats, dogs\. Repeat'):
        look(photos, out, True, begun=True)
    with pytest.raises(UnusableInputError, match='has cats, dogs, and now there are none'):
        look(photos, out, False, begun=True)


def test_what_has_not_changed_is_not_decoded_again(photos, monkeypatch):
    look(photos, photos.parent / 'out', False)
    seen = []
    monkeypatch.setattr('mmcls.apis.folder_images.look_at', lambda path: seen.append(path.name) or Look(side=8))
    shutil.copy(photos / 'cats/0.png', photos / 'cats/1.png')
    look(photos, photos.parent / 'out', False)
    assert seen == ['1.png']


def test_colours_depths_and_rotation_reach_the_training_as_a_viewer_shows_them(photos):
    picture = Image.new('RGB', (8, 4), (200, 100, 40))
    picture.save(photos / 'cmyk.jpg')
    picture.convert('CMYK').save(photos / 'cmyk.jpg', quality=100)
    picture.convert('P', palette=Image.Palette.ADAPTIVE).save(photos / 'palette.png')
    picture.convert('L').save(photos / 'gray.png')
    cv2.imwrite(str(photos / 'sixteen.png'), np.full((4, 8, 3), (40 * 257, 100 * 257, 200 * 257), np.uint16))
    picture.save(photos / 'webp.webp', lossless=True)
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter of a turn
    picture.save(photos / 'turned.jpg', exif=turned, quality=100)
    assert look(photos, photos.parent / 'out', False).notes == []
    dataset = DATASETS.build({
        'type': 'BaseDataset', 'data_root': str(photos), 'ann_file': str(photos.parent / 'out/images.json'),
        'pipeline': [{'type': 'LoadImageFromFile'}],
    })  # fmt: skip
    samples = {os.path.basename(sample['img_path']): sample['img'][..., ::-1] for sample in dataset}
    for name in ('palette.png', 'sixteen.png', 'webp.webp', 'turned.jpg', 'cmyk.jpg'):
        assert np.abs(samples[name].reshape(-1, 3).mean(0) - (200, 100, 40)).max() < 4, name
    assert np.abs(samples['gray.png'] - np.float64(picture.convert('L').getpixel((0, 0)))).max() <= 1
    assert samples['turned.jpg'].shape == (8, 4, 3)
