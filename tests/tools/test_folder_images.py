"""Which files of a folder are images, and of which class."""

import pytest
from mmcls.apis.folder_images import list_images
from mmcls.errors import UnusableInputError
from PIL import Image


def test_folders_without_images_or_classes(tmp_path):
    out, folder = tmp_path / 'out', tmp_path / 'folder'
    out.mkdir()
    (folder / 'one').mkdir(parents=True)
    with pytest.raises(UnusableInputError, match=r'folder holds no images: expected files that end in \.jpg'):
        list_images(folder, out, False)
    (folder / 'one' / '0.jpg').touch()
    with pytest.raises(UnusableInputError, match=r'None of the 1 images in .* can be read'):
        list_images(folder, out, False)
    (out / 'unreadable.txt').unlink()
    Image.new('RGB', (8, 8)).save(folder / 'one' / '0.jpg')
    with pytest.raises(UnusableInputError, match="one subfolder alone, 'one'"):
        list_images(folder, out, True)
    Image.new('RGB', (8, 8)).save(folder / '1.png')
    (out / 'images.txt').unlink(missing_ok=True)
    with pytest.raises(UnusableInputError, match=r'1 images lie in no subfolder of .* \(1\.png\)'):
        list_images(folder, out, True)
    (out / 'distillation').mkdir()
    assert list_images(folder, out, False).count == 2


def test_results_inside_the_folder_are_no_images_of_it(tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    for path in (tmp_path / '0.png', out / 'picture.png'):
        Image.new('RGB', (8, 8)).save(path)
    for _ in range(2):
        assert list_images(tmp_path, out, False).count == 1
    assert (out / 'images.txt').read_text() == '0.png\n'


@pytest.fixture
def photos(tmp_path):
    """Two folders of one image each, and a folder for the results."""
    (tmp_path / 'out').mkdir()
    for name in ('cats', 'dogs'):
        (tmp_path / 'photos' / name).mkdir(parents=True)
        Image.new('RGB', (8, 8)).save(tmp_path / 'photos' / name / '0.png')
    return tmp_path / 'photos'


def names(photos):
    list_images(photos, photos.parent / 'out', False)
    return (photos.parent / 'out/images.txt').read_text().split()


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
    assert 'symbolic links' in (photos.parent / 'out/unreadable.txt').read_text()
