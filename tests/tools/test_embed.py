"""A student's features of a folder, and the page of neighbours."""

import base64
import io
import os
import re

import numpy as np
import pytest
import torch
from mmcls import embed, load_student, neighbours
from mmcls.apis.neighbours import nearest
from PIL import Image
from publishing import TINY, publish, random_backbone, save_checkpoint, training_config
from support import door


@pytest.fixture
def student(tmp_path):
    torch.manual_seed(0)
    save_checkpoint(tmp_path / 'epoch_2.pth', random_backbone(TINY), training_config(TINY))
    return tmp_path / 'epoch_2.pth'


@pytest.fixture
def photos(tmp_path):
    """Six images, one of them twice; one that is none; what belongs to a system."""
    folder = tmp_path / 'photos'
    (folder / 'more' / '@eaDir').mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(5):
        pixels = generator.integers(256, size=(40 + 8 * index, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{index}.png')
    Image.open(folder / '3.png').save(folder / 'more' / 'again.png')
    (folder / 'broken.jpg').write_bytes(b'no image')
    Image.open(folder / '3.png').save(folder / 'more' / '@eaDir' / 'thumbnail.png')
    return folder


def test_features_are_the_students_of_each_image(student, photos, tmp_path, capsys):
    door('embed', photos, student, tmp_path / 'out', '--workers', '0', '--batch-size', '2')
    features, names = np.load(tmp_path / 'out/features.npy'), (tmp_path / 'out/images.txt').read_text().splitlines()
    assert names == ['0.png', '1.png', '2.png', '3.png', '4.png', 'more/again.png']
    output = capsys.readouterr().out
    assert 'left out, since they cannot be read: broken.jpg' in output
    assert '6 images, 64 numbers each' in output
    assert np.allclose(features[3], features[5], atol=1e-3)
    image = Image.open(photos / '2.png')  # 64x56: resized to 37x32, the middle of it
    small = image.resize((37, 32), Image.Resampling.BOX).crop((2, 0, 34, 32))
    with torch.no_grad():
        expected = load_student(student).read(small)[-1].mean((2, 3))[0].numpy()
    assert np.corrcoef(features[2], expected)[0, 1] > 0.99  # libraries resize alike, not equally


def test_a_published_folder_and_a_loaded_student_give_the_same(student, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    publish(student, 'published', '--formats', 'pth')
    expected, _ = embed(photos, student, workers=0)
    for given, options in (('published', {}), (load_student(student), {'image_size': 32})):
        features, _ = embed(photos, given, workers=0, **options)
        assert np.allclose(features, expected, atol=1e-6)
    with pytest.raises(ValueError, match='give image_size'):
        embed(photos, load_student(student))


def test_the_size_that_a_student_was_published_with_is_kept(photos, tmp_path):
    sizeless = training_config(TINY, train_dataloader={'dataset': {'pipeline': []}})
    save_checkpoint(tmp_path / 'sizeless.pth', random_backbone(TINY), sizeless)
    publish(tmp_path / 'sizeless.pth', tmp_path / 'published', '--formats', 'safetensors', '--image-size', '32')
    found, expected = (
        embed(photos, student, workers=0, **size)[0]
        for student, size in ((tmp_path / 'published', {}), (load_student(tmp_path / 'published'), {'image_size': 32}))
    )
    assert np.array_equal(found, expected)


def test_the_page_shows_the_nearest(student, photos, tmp_path):
    page = neighbours(photos, student, tmp_path / 'page.html', queries=6, k=2, workers=0).read_text()
    assert page.count('class="row"') == 6
    assert page.count('<img src="data:image/') == 18
    rows = page.split('class="row"')[4:]
    assert (
        'title="more/again.png"'
        in rows[0].partition('title="3.png"')[2].partition('</figure>')[2].split('</figure>')[0]
    )
    assert 'http' not in page


def test_the_nearest_come_first_and_not_the_image_itself():
    features = np.array([[0.0, 1.0], [0.0, 0.9], [1.0, 0.0], [-1.0, -2.0]])
    found = nearest(features, np.array([0]), 5)
    order, similarity = found[0]
    assert order.tolist() == [1, 2, 3]
    assert (np.diff(similarity) < 0).all()


def test_what_has_no_images_is_refused(student, tmp_path):
    (tmp_path / 'empty').mkdir()
    for folder, message in (('empty', 'There are no images in'), ('none', 'There is no folder')):
        with pytest.raises(ValueError, match=message):
            embed(tmp_path / folder, student)
    (tmp_path / 'empty' / 'a.jpg').write_bytes(b'')
    with pytest.raises(ValueError, match='None of the 1 images'):
        embed(tmp_path / 'empty', student, workers=0)


def test_names_that_are_no_text_and_pictures_that_a_camera_has_turned(student, tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    picture, turned = Image.new('RGB', (40, 20), (200, 100, 40)), Image.Exif()
    turned[0x0112] = 6  # a quarter of a turn
    name = os.fsencode(folder) + b'/caf\xe9.jpg'
    with open(name, 'wb') as file:
        picture.save(file, 'jpeg', exif=turned)
    picture.save(folder / 'b.png')
    embed(folder, student, tmp_path / 'out', workers=0)
    assert sorted((tmp_path / 'out/images.txt').read_bytes().splitlines()) == [b'b.png', b'caf\xe9.jpg']
    page = neighbours(folder, student, tmp_path / 'page.html', k=1, workers=0).read_text()
    assert 'title="caf\ufffd.jpg"' in page
    shown = re.findall(r'<img src="data:image/\w+;base64,([^"]+)"', page)
    sizes = {Image.open(io.BytesIO(base64.b64decode(each))).size for each in shown}
    assert sizes == {(20, 40), (40, 20)}
