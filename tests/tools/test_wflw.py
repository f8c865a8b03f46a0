"""WFLW's lists as annotation files, read by MMPose's own class."""

import json
import shutil
import sys
from dataclasses import replace

import demo_faces
import numpy as np
import pytest
import wflw
from common import DataError
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.face import WFLWDataset
from mmpose.datasets.transforms import RandomFlip
from mmpose.utils import register_all_modules
from PIL import Image
from wflw_list import ATTRIBUTES, read_list

SIZE, TRAIN, TEST = 48, 6, 30


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp('faces')
    picture = Image.fromarray(demo_faces.draw(0, 0, SIZE).image)
    for index in range(TRAIN + TEST):
        path = root / demo_faces.WFLW / wflw.RAW_IMAGES / demo_faces.wflw_name(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    demo_faces.write_lists(root, demo_faces.make_split(TRAIN, TEST, 0), 0, SIZE)
    return root / demo_faces.WFLW


@pytest.fixture
def raw(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / 'wflw')


@pytest.fixture
def run(monkeypatch):
    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['wflw.py', *map(str, args)])
        wflw.main()

    return call


@pytest.fixture
def _mmpose():
    register_all_modules(init_default_scope=False)
    init_default_scope('mmpose')


def lists(folder, split):
    return folder / wflw.LISTS / f'list_98pt_rect_attr_{split}.txt'


def annotations(folder, name):
    return json.loads((folder / wflw.ANNOTATIONS[name]).read_text())


def test_annotations_hold_the_numbers_of_the_lists(raw, run):
    run(raw)
    for split in ('train', 'test'):
        found = annotations(raw, split)
        names = {image['id']: image['file_name'] for image in found['images']}
        lines = lists(raw, split).read_text().splitlines()
        assert len(found['annotations']) == len(lines) == {'train': TRAIN, 'test': TEST}[split]
        for annotation, line in zip(found['annotations'], lines, strict=True):
            fields = line.split()
            keypoints = np.array(annotation['keypoints']).reshape(98, 3)
            x, y, width, height = annotation['bbox']
            numbers = [*keypoints[:, :2].ravel(), x, y, x + width, y + height, *annotation['attributes'].values()]
            assert numbers == [float(field) for field in fields[:-1]]
            assert tuple(annotation['attributes']) == ATTRIBUTES
            assert names[annotation['image_id']] == fields[-1]
        assert all((image['width'], image['height']) == (SIZE, SIZE) for image in found['images'])


def test_subsets_are_the_test_faces_with_an_attribute(raw, run):
    run(raw)
    columns = np.array([line.split()[-7:-1] for line in lists(raw, 'test').read_text().splitlines()]).astype(int)
    counts = {subset: len(annotations(raw, f'test_{subset}')['annotations']) for subset in wflw.SUBSETS}
    assert list(counts.values()) == columns.sum(axis=0).tolist()
    assert max(counts.values()) > 3
    for attribute, subset in zip(ATTRIBUTES, wflw.SUBSETS, strict=True):
        assert all(face['attributes'][attribute] for face in annotations(raw, f'test_{subset}')['annotations'])


def test_square_is_that_of_openmmlabs_files():
    # an annotation of face_landmarks_wflw_train.json: center 56.5, 101.5, scale 0.385, and a bbox 1.2 times as large
    # as the box of the points
    corner, size = np.array([11.7386928, 56.1495464]), np.array([89.3384184, 90.8970432])
    middle, half = corner + size / 2, size / 2.4
    assert wflw.centre_and_scale(np.stack([middle - half, middle + half])) == ([56.5, 101.5], 0.385)


@pytest.mark.usefixtures('_mmpose')
def test_mmpose_reads_it(raw, run):
    run(raw)
    crop = {'type': 'TopdownAffine', 'input_size': (64, 64)}
    pipeline = [{'type': 'LoadImage'}, {'type': 'GetBBoxCenterScale'}, crop]
    faces = {split: read_list(lists(raw, split)) for split in ('train', 'test')}
    for name, file in wflw.ANNOTATIONS.items():
        dataset = WFLWDataset(
            ann_file=file, data_root=str(raw), data_prefix={'img': 'images/'}, pipeline=pipeline, test_mode=True
        )
        assert len(dataset) == len(annotations(raw, name)['annotations'])
    dataset = WFLWDataset(
        ann_file=wflw.ANNOTATIONS['train'], data_root=str(raw), data_prefix={'img': 'images/'}, pipeline=pipeline
    )
    for sample, face in zip(dataset, faces['train'], strict=True):
        np.testing.assert_allclose(sample['keypoints'][0], face['points'], rtol=1e-6)
        assert sample['keypoints_visible'].tolist() == [[1] * 98]
        assert sample['img'].shape == (64, 64, 3)
        crop = sample['transformed_keypoints'][0]  # 1.25 times the square around the points
        assert crop.min() > 4
        assert crop.max() < 60
        assert max(np.ptp(crop, axis=0)) == pytest.approx(64 / 1.25, rel=0.1)


@pytest.mark.usefixtures('_mmpose')
def test_flipping_keeps_left_and_right():
    wink = replace(demo_faces.make_scene(0, 3), eye_opening=(0.2, 1.2), yaw=0, roll=0)
    portrait = demo_faces.draw_face(wink, 96)
    sample = {
        'img': portrait.image,
        'keypoints': portrait.points[None],
        'keypoints_visible': np.ones((1, 98)),
        'flip_indices': WFLWDataset(lazy_init=True).metainfo['flip_indices'],
        'bbox_center': np.array([[48.0, 48.0]]),
        'bbox': np.array([[0.0, 0.0, 96.0, 96.0]]),
        'img_shape': (96, 96),
    }
    flipped = RandomFlip(prob=1.0)(sample)['keypoints'][0]

    def openings(points):
        return points[66, 1] - points[62, 1], points[74, 1] - points[70, 1]  # the eye on the left, on the right

    before, after = openings(portrait.points), openings(flipped)
    assert before[0] < 0.5 * before[1]  # the right eye winks: the one on the left of the picture
    assert after == pytest.approx(before[::-1])
    assert (np.diff(flipped[:33, 0]) > 0).all()


def test_written_once_and_checked(raw, run, capsys):
    with pytest.raises(DataError, match=r'face_landmarks_wflw_train\.json is missing'):
        run(raw, '--check')
    assert not (raw / 'images').exists()
    run(raw)
    before = {path: path.stat().st_mtime_ns for path in raw.rglob('*')}
    run(raw)
    run(raw, '--check')
    assert {path: path.stat().st_mtime_ns for path in raw.rglob('*')} == before
    assert capsys.readouterr().out.count(f'{TRAIN} training and {TEST} test faces (largepose') == 3
    (raw / wflw.ANNOTATIONS['test_blur']).unlink()
    mended = raw / wflw.ANNOTATIONS['train']
    mended.write_text(mended.read_text().replace('"iscrowd": 0', '"iscrowd": 1'))
    run(raw)
    assert (raw / wflw.ANNOTATIONS['test_blur']).is_file()
    assert '"iscrowd": 1' in mended.read_text()  # somebody's own is left


def test_a_link_to_the_images_is_made_anew(raw, run):
    run(raw)
    shutil.rmtree(raw / 'WFLW_annotations')
    (raw / 'images').unlink()
    (raw / 'images').symlink_to('/where/they/were')
    run(raw)
    assert (raw / 'images').resolve() == raw / wflw.RAW_IMAGES


def test_openmmlabs_own_files_do_as_well(raw, run):
    run(raw)
    (raw / 'images').unlink()
    (raw / wflw.RAW_IMAGES).rename(raw / 'images')
    shutil.rmtree(raw / 'WFLW_annotations')
    for name in wflw.ANNOTATIONS:
        content = annotations(raw, name)
        for annotation in content['annotations']:
            del annotation['attributes']
        (raw / wflw.ANNOTATIONS[name]).write_text(json.dumps(content))
    run(raw, '--check')
    content['annotations'] = [{'id': 7, 'keypoints': []}]
    (raw / wflw.ANNOTATIONS['test']).write_text(json.dumps(content))
    with pytest.raises(DataError, match=r'wflw_test\.json is damaged: annotation 7 lacks center'):
        run(raw, '--check')


def test_damaged_lists_are_named_with_their_line(raw, run):
    path = lists(raw, 'test')
    lines = path.read_text().splitlines()
    spoilt = {
        'line 4: 100 columns where 207': ' '.join(lines[3].split()[:100]),
        'line 4: could not convert': lines[3].replace(' ', ' x', 1),
        'line 4: a number that is not finite': 'nan ' + lines[3].partition(' ')[2],
        'line 4: attributes 0 0 2 0 0 0': ' '.join([*lines[3].split()[:-7], '0 0 2 0 0 0', 'a.jpg']),
    }
    for message, line in spoilt.items():
        path.write_text('\n'.join([*lines[:3], line, *lines[4:]]))
        with pytest.raises(DataError, match=rf'list_98pt_rect_attr_test\.txt, {message}'):
            run(raw)
    assert not (raw / 'annotations').exists()
    path.write_text('')
    with pytest.raises(DataError, match='is empty'):
        run(raw)


def test_missing_and_broken_images_are_named(raw, run):
    victim = raw / wflw.RAW_IMAGES / demo_faces.wflw_name(0)
    whole = victim.read_bytes()
    victim.write_bytes(b'no image')
    with pytest.raises(DataError, match=r'0_Parade_0\.jpg is no image'):
        run(raw)
    victim.unlink()
    with pytest.raises(DataError, match=r'lacks 1 of 36 images: 0--Parade/0_Parade_0\.jpg'):
        run(raw)
    assert not (raw / 'annotations').exists()
    victim.write_bytes(whole)
    run(raw)


def test_a_wrong_folder_is_refused(tmp_path, run, raw):
    with pytest.raises(DataError, match=r'lacks WFLW_annotations/.*list_98pt_rect_attr_train\.txt.*wywu'):
        run(tmp_path)
    shutil.rmtree(raw / wflw.RAW_IMAGES)
    with pytest.raises(DataError, match='neither images nor WFLW_images'):
        run(raw)


def test_several_faces_of_one_photograph(raw, run):
    path = lists(raw, 'train')
    lines = path.read_text().splitlines()
    name = lines[0].split()[-1]
    path.write_text('\n'.join([line.rsplit(' ', 1)[0] + f' {name}' for line in lines]) + '\n')
    run(raw)
    found = annotations(raw, 'train')
    assert [image['file_name'] for image in found['images']] == [name]
    assert [face['image_id'] for face in found['annotations']] == [1] * TRAIN
    assert len({face['id'] for face in found['annotations']}) == TRAIN
