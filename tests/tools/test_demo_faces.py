"""The truth of the drawn faces: parts and points lie on each other, every class and attribute occurs."""

import json
from dataclasses import replace

import celeba_split
import celebamask_hq
import cv2
import demo_faces
import numpy as np
import pytest
import wflw
from common import DataError
from face_drawing import contact_sheet, draw_face, project_points
from face_drawing.features import MIRRORED
from mmpose.datasets.datasets.face import WFLWDataset
from part_masks import CLASSES
from wflw_list import ATTRIBUTES

FACE = ('skin', 'nose', 'eye_g', 'l_eye', 'r_eye', 'l_brow', 'r_brow', 'mouth', 'u_lip', 'l_lip')
UNCOVERED = {'hat': None, 'glasses': None, 'occluder': None, 'fringe': 0.0, 'hair_style': 'shaved'}


def scene(index, **changes):
    return replace(demo_faces.make_scene(0, index), **changes)


def region(portrait, *names):
    return np.isin(portrait.labels, [CLASSES.index(name) for name in names])


def distances(points, mask):
    """How far points of the image lie outside of a mask and from its border, in pixels of the mask."""
    fine = np.pad(np.kron(mask.astype(np.uint8), np.ones((4, 4), np.uint8)), 1)
    outside, inside = (cv2.distanceTransform(m, cv2.DIST_L2, 5) / 4 for m in (1 - fine, fine))
    x, y = np.rint((points + 0.5) * 2 + 0.5).astype(int).T
    return outside[y, x], np.maximum(outside, inside)[y, x]


@pytest.fixture(scope='module')
def portraits():
    """Faces of many poses and expressions with nothing before them."""
    faces = [scene(index, **UNCOVERED) for index in range(16)]
    assert max(abs(face.yaw) for face in faces) > 32
    return [draw_face(face, 192) for face in faces]


def test_points_lie_on_the_parts_that_they_belong_to(portraits):
    for portrait in portraits:
        points = portrait.points
        assert distances(points[:33], region(portrait, *FACE))[1].max() < 1.5  # contour
        assert distances(points[51:60], region(portrait, 'nose', 'skin'))[0].max() < 1
        lips = region(portrait, 'u_lip', 'l_lip', 'mouth')
        assert distances(points[76:88], lips)[1].max() < 1.5  # outer edge of the lips
        assert distances(points[88:96], lips)[0].max() < 1


@pytest.mark.parametrize(('side', 'eye', 'brow', 'pupil'), [('r', 60, 33, 96), ('l', 68, 42, 97)])
def test_eyes_and_brows_of_faces_turned_little(side, eye, brow, pupil):
    for index in range(16):
        portrait = draw_face(scene(index, **UNCOVERED, yaw=(index - 8) * 2.5), 192)
        points, opened = portrait.points, region(portrait, f'{side}_eye')
        assert distances(points[eye : eye + 8], opened)[1].max() < 1.5
        assert distances(points[pupil : pupil + 1], opened)[0].max() < 0.5
        away = distances(points[brow : brow + 9], region(portrait, f'{side}_brow'))[1]
        assert np.sort(away)[-2] < 1
        assert away.max() < 3  # the outer tip is thinner than a pixel


def test_open_mouths_show_teeth_between_the_inner_points():
    portrait = draw_face(scene(0, **UNCOVERED, mouth_opening=0.4, yaw=0), 192)
    assert distances(portrait.points[88:96], region(portrait, 'mouth'))[1].max() < 1.5
    assert distances(portrait.points[[90, 94]].mean(axis=0, keepdims=True), region(portrait, 'mouth'))[0] == 0


def test_left_is_the_persons_left():
    portrait = draw_face(scene(3, **UNCOVERED, yaw=0, roll=0), 96)
    for name in ('eye', 'brow', 'ear'):
        left, right = (np.nonzero(portrait.masks[f'{side}_{name}'])[1].mean() for side in 'lr')
        assert left > right + 5


def test_order_of_the_points_is_mmposes(portraits):
    info = WFLWDataset(lazy_init=True).metainfo
    assert MIRRORED.tolist() == info['flip_indices']
    front = draw_face(scene(1, **UNCOVERED, yaw=0, roll=0, pitch=0, eye_opening=(1, 1), gaze=(0, 0)), 96)
    mirrored = front.points[MIRRORED] * [-1, 1]
    np.testing.assert_allclose(mirrored - mirrored.mean(axis=0), front.points - front.points.mean(axis=0), atol=1e-6)
    x, y = front.points.T
    assert (np.diff(x[1:32]) > 0).all()
    assert (np.diff(y[51:55]) > 0).all()
    assert (y[[62, 70]] < y[[66, 74]]).all()
    assert y[79] < y[90] < y[94] < y[85]


def test_masks_painted_in_the_official_order_give_what_is_seen():
    for index in range(12):
        portrait = draw_face(scene(index), 64)
        painted = np.zeros_like(portrait.labels)
        for k, name in enumerate(CLASSES):
            painted[portrait.masks.get(name, np.zeros(painted.shape, bool))] = k
        assert np.array_equal(painted, portrait.labels)
    assert portrait.masks['skin'][portrait.masks['nose']].mean() > 0.9  # skin goes on below the features


def test_an_occluder_is_background_and_leaves_the_points():
    free = scene(2, **UNCOVERED)
    for kind in ('hand', 'microphone', 'cup', 'bar'):
        covered = replace(free, occluder=kind)
        portrait = draw_face(covered, 64)
        assert (region(portrait, *FACE).sum()) < region(draw_face(free, 64), *FACE).sum()
        assert np.array_equal(portrait.points, project_points(free, 64))
        assert (covered.attributes['occlusion'], free.attributes['occlusion']) == (1, 0)


def test_every_class_and_attribute_occurs():
    seen = set()
    for index in range(120):
        seen |= set(np.unique(draw_face(scene(index), 32).labels))
        if len(seen) == len(CLASSES):
            break
    assert seen == set(range(len(CLASSES)))
    attributes = np.array([list(scene(index).attributes.values()) for index in range(400)])
    assert tuple(scene(0).attributes) == ATTRIBUTES
    assert ((attributes.mean(axis=0) > 0.05) & (attributes.mean(axis=0) < 0.5)).all()


def test_points_stay_in_the_picture():
    points = np.array([project_points(scene(index), 100) for index in range(400)])
    assert points.min() >= 0
    assert points.max() <= 99


def test_the_same_each_time_also_in_several_processes(tmp_path):
    demo_faces.write_faces(tmp_path / 'faces', train=4, test=2, size=32, seed=5)
    for index in range(6):
        demo_faces.write_face(index, tmp_path / 'again', seed=5, size=32)
    demo_faces.write_lists(tmp_path / 'again', demo_faces.make_split(4, 2, 5), 5, 32)
    files = sorted(path.relative_to(tmp_path / 'again') for path in (tmp_path / 'again').rglob('*.*') if path.is_file())
    assert len([path for path in files if path.suffix == '.jpg']) == 12
    for path in files:
        assert (tmp_path / 'faces' / path).read_bytes() == (tmp_path / 'again' / path).read_bytes()
    other = draw_face(demo_faces.make_scene(6, 0), 32)
    assert not np.array_equal(other.image, draw_face(demo_faces.make_scene(5, 0), 32).image)


def test_resumed_and_never_mixed(tmp_path):
    folder, settings = tmp_path / 'faces', {'train': 2, 'test': 2, 'size': 32, 'seed': 0}
    unfinished = tmp_path / 'faces.partial'
    demo_faces.write_face(0, unfinished, seed=0, size=32)
    first = unfinished / demo_faces.CELEBA / celebamask_hq.IMAGES / '0.jpg'
    changed = first.stat().st_mtime_ns
    (unfinished / 'settings.json').write_text(json.dumps(settings))
    demo_faces.write_faces(folder, **settings)
    assert (folder / first.relative_to(unfinished)).stat().st_mtime_ns == changed
    assert len(list((folder / demo_faces.WFLW / wflw.RAW_IMAGES).rglob('*.jpg'))) == 4
    demo_faces.write_faces(folder, **settings)
    with pytest.raises(DataError, match=r"drawn with .*'seed': 0.* not .*'seed': 1"):
        demo_faces.write_faces(folder, **settings | {'seed': 1})
    (tmp_path / 'photos').mkdir()
    with pytest.raises(DataError, match='holds something else'):
        demo_faces.write_faces(tmp_path / 'photos', **settings)


def test_lists_are_in_the_official_form(tmp_path):
    split = demo_faces.make_split(5, 4, 0)
    assert sorted(split) == ['test'] * 2 + ['train'] * 5 + ['val'] * 2
    demo_faces.write_lists(tmp_path, split, 0, 64)
    partition = (tmp_path / demo_faces.CELEBA / celeba_split.PARTITION).read_text().splitlines()
    assert [len(partition), partition[0], partition[-1]] == [202_599, '000001.jpg 0', '202599.jpg 2']
    assert partition[162_769:162_771] == ['162770.jpg 0', '162771.jpg 1']
    assert partition[182_636:182_638] == ['182637.jpg 1', '182638.jpg 2']
    found = celeba_split.read_split(tmp_path / demo_faces.CELEBA)
    assert {name: [i for i, s in enumerate(split) if s == name] for name in found} == found


def test_contact_sheet(portraits):
    sheet = contact_sheet(portraits[:5])
    assert sheet.size == (8 * 192, 2 * 192)
    assert np.asarray(sheet)[:192, :192].std() > 10
