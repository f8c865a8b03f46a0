"""Which files of a folder are images, and of which class."""

import pytest
from folder_images import list_images
from PIL import Image


def test_folders_without_images_or_classes(tmp_path):
    out, folder = tmp_path / 'out', tmp_path / 'folder'
    out.mkdir()
    (folder / 'one').mkdir(parents=True)
    with pytest.raises(SystemExit, match=r'folder holds no images: expected files that end in \.jpg'):
        list_images(folder, out, False)
    (folder / 'one' / '0.jpg').touch()
    with pytest.raises(SystemExit, match=r'None of the 1 images in .* can be read'):
        list_images(folder, out, False)
    (out / 'unreadable.txt').unlink()
    Image.new('RGB', (8, 8)).save(folder / 'one' / '0.jpg')
    with pytest.raises(SystemExit, match="one subfolder alone, 'one'"):
        list_images(folder, out, True)
    Image.new('RGB', (8, 8)).save(folder / '1.png')
    (out / 'images.txt').unlink(missing_ok=True)
    with pytest.raises(SystemExit, match=r'1 images lie in no subfolder of .* \(1\.png\)'):
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
