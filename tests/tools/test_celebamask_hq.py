"""Label maps and splits of CelebAMask-HQ, from drawn faces and from lists of the official length."""

import shutil
import sys
import zipfile
from dataclasses import replace

import celeba_split
import celebamask_hq
import demo_faces
import numpy as np
import pytest
from celebamask_hq import LABEL_MAPS
from common import DataError
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import RandomFlip
from mmseg.utils import register_all_modules
from part_masks import CLASSES, PART_MASKS, label_map
from PIL import Image

NUM_FACES, SIZE = 8, 64


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp('faces')
    for index in range(NUM_FACES):
        demo_faces.write_face(index, root, seed=0, size=SIZE)
    demo_faces.write_lists(root, demo_faces.make_split(4, 4, 0), 0, SIZE)
    return root / demo_faces.CELEBA


@pytest.fixture
def raw(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / 'CelebAMask-HQ')


@pytest.fixture
def run(monkeypatch):
    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['celebamask_hq.py', *map(str, args)])
        celebamask_hq.main()

    return call


def labels(folder, index):
    image = Image.open(folder / LABEL_MAPS / f'{index}.png')
    assert image.mode == 'L'
    return np.asarray(image)


def truth(index):
    return demo_faces.draw(index, 0, SIZE).labels


def test_label_maps_are_the_faces_as_drawn_and_checked(raw, run, capsys):
    with pytest.raises(DataError, match=r'train\.txt.* is missing'):
        run(raw, '--check')
    assert not (raw / LABEL_MAPS).exists()
    run(raw)
    for index in range(NUM_FACES):
        assert np.array_equal(labels(raw, index), truth(index))
    before = {path: path.stat().st_mtime_ns for path in raw.rglob('*')}
    run(raw, '--check')
    run(raw)
    assert {path: path.stat().st_mtime_ns for path in raw.rglob('*')} == before
    assert capsys.readouterr().out.count('4 train, 2 val, 2 test images') == 3


def test_the_archive_as_downloaded_gives_the_same(raw, run, tmp_path):
    archive, folder = tmp_path / 'CelebAMask-HQ.zip', tmp_path / 'data'
    with zipfile.ZipFile(archive, 'w') as file:
        for path in raw.rglob('*.*'):
            if path.name != celeba_split.PARTITION:  # not part of it
                file.write(path, f'CelebAMask-HQ/{path.relative_to(raw)}')
    with pytest.raises(DataError, match=r'no file .*list_eval_partition\.txt.*CelebA'):
        run(folder, '--archive', archive)
    assert not folder.exists()
    folder.mkdir()
    shutil.copy(raw / celeba_split.PARTITION, folder)
    run(folder, '--archive', archive)
    for index in range(NUM_FACES):
        assert np.array_equal(labels(folder, index), truth(index))
        image = f'{celebamask_hq.IMAGES}/{index}.jpg'
        assert (folder / image).read_bytes() == (raw / image).read_bytes()


def test_later_parts_overwrite_earlier_ones(tmp_path):
    rng = np.random.default_rng(0)
    masks = {name: rng.random((16, 16)) < 0.3 for name in CLASSES[1:]}
    for name, mask in masks.items():
        Image.fromarray(mask).convert('RGB').save(tmp_path / f'{name}.png')
    found = label_map(tmp_path, {name: f'{name}.png' for name in reversed(masks)})
    expected = np.max([k * masks[name] for k, name in enumerate(CLASSES) if k], axis=0)
    assert np.array_equal(found, expected)


def test_resumed_after_a_damaged_mask(raw, run):
    mask = raw / PART_MASKS / '0' / '00003_skin.png'
    whole = mask.read_bytes()
    mask.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r'0/00003_skin\.png does not decode'):
        run(raw)
    assert len(list((raw / LABEL_MAPS).iterdir())) == NUM_FACES - 1
    first = (raw / LABEL_MAPS / '0.png').stat().st_mtime_ns
    mask.write_bytes(whole)
    run(raw)
    assert np.array_equal(labels(raw, 3), truth(3))
    assert (raw / LABEL_MAPS / '0.png').stat().st_mtime_ns == first
    assert not list(raw.rglob('*.partial'))


def test_missing_and_foreign_files_are_named(raw, run):
    for path in (raw / PART_MASKS / '0').glob('00005_*'):
        path.unlink()
    with pytest.raises(DataError, match=r'no part mask of 1 of 8 images: 5\.'):
        run(raw)
    Image.new('RGB', (8, 8)).save(raw / PART_MASKS / '0' / '00005_skin.png')
    Image.new('RGB', (9, 9)).save(raw / PART_MASKS / '0' / '00005_hair.png')
    with pytest.raises(DataError, match=r'00005_hair\.png has \(9, 9\) pixels'):
        run(raw)
    (raw / PART_MASKS / '0' / '00005_hair.png').unlink()
    run(raw)
    Image.fromarray(np.full((8, 8), 19, np.uint8)).save(raw / LABEL_MAPS / '2.png')
    (raw / celebamask_hq.IMAGES / '1.jpg').unlink()
    with pytest.raises(DataError, match=r'CelebA-HQ-img: 1 of 8 files are missing: 1\.jpg'):
        run(raw, '--check')
    shutil.copy(raw / celebamask_hq.IMAGES / '0.jpg', raw / celebamask_hq.IMAGES / '1.jpg')
    with pytest.raises(DataError, match=r'mask/2\.png is no label map of 19 classes.*up to 19'):
        run(raw, '--check')


def test_an_empty_list_is_named(raw, run):
    run(raw)
    (raw / 'val.txt').write_text('')
    with pytest.raises(DataError, match=r'val\.txt, the list of the val split, is empty'):
        run(raw, '--check')


def test_a_wrong_folder_is_refused(tmp_path, run):
    (tmp_path / 'notes.txt').write_text('')
    with pytest.raises(DataError, match=r'no file .*list_eval_partition\.txt'):
        run(tmp_path)


def write_official_lists(folder, shift=0):
    """CelebA's partition, which is contiguous, and a mapping with as many images of each part as the true one has."""
    rng = np.random.default_rng(0)
    starts = {'train': 1, 'val': 162_771, 'test': 182_638, 'end': 202_600}
    bounds = list(starts.values())
    originals = np.concatenate(
        [
            rng.permutation(np.arange(bounds[k], bounds[k + 1]))[: celeba_split.OFFICIAL_COUNTS[name]]
            for k, name in enumerate(celeba_split.SPLITS)
        ]
    )
    rows = [f'{i} {n - 1} {n:06d}.jpg' for i, n in enumerate(rng.permutation(originals))]
    (folder / celeba_split.MAPPING).write_text('\n'.join(['idx orig_idx orig_file', *rows]) + '\n')
    partition = np.searchsorted(bounds[1:3], np.arange(1, 202_600), side='right')
    lines = [f'{n:06d}.jpg {k}\n' for n, k in enumerate(partition, 1)]
    (folder / celeba_split.PARTITION).write_text(''.join(lines))
    return originals


def test_official_lists_give_the_official_split(tmp_path):
    write_official_lists(tmp_path)
    split = celeba_split.read_split(tmp_path)
    assert {name: len(indices) for name, indices in split.items()} == {'train': 24_183, 'val': 2_993, 'test': 2_824}
    assert sorted(index for indices in split.values() for index in indices) == list(range(30_000))
    rows = [line.split() for line in (tmp_path / celeba_split.MAPPING).read_text().splitlines()[1:]]
    number = {int(index): int(original[:6]) for index, _, original in rows}
    assert max(number[i] for i in split['train']) <= 162_770 < min(number[i] for i in split['val'])
    assert max(number[i] for i in split['val']) <= 182_637 < min(number[i] for i in split['test'])


def test_damaged_lists_are_named_with_their_line(tmp_path):
    write_official_lists(tmp_path)
    mapping, partition = tmp_path / celeba_split.MAPPING, tmp_path / celeba_split.PARTITION
    whole = mapping.read_text()
    mapping.write_text(whole[:-12])
    with pytest.raises(DataError, match=r'mapping\.txt, line 30001: 2 columns where 3'):
        celeba_split.read_split(tmp_path)
    mapping.write_text(whole)
    partition.write_text(partition.read_text()[: 13 * 100_000])
    with pytest.raises(DataError, match="gives 'nothing' where 0, 1 or 2"):
        celeba_split.read_split(tmp_path)
    partition.unlink()
    with pytest.raises(DataError, match=r'no file .*list_eval_partition.*mmlab\.ie'):
        celeba_split.read_split(tmp_path)


def test_another_split_of_all_images_is_refused(raw, run, monkeypatch):
    run(raw)
    monkeypatch.setattr(celebamask_hq, 'OFFICIAL_COUNTS', {'train': 5, 'val': 1, 'test': 2})
    with pytest.raises(DataError, match=r'the split has .* the official one'):
        run(raw, '--check')


@pytest.fixture
def _mmseg():
    register_all_modules(init_default_scope=False)
    init_default_scope('mmseg')


@pytest.mark.usefixtures('_mmseg')
def test_mmsegmentation_reads_it(raw, run):
    run(raw)
    # 17 is cv2.IMREAD_REDUCED_COLOR_2: images are twice as large as masks
    pipeline = [{'type': 'LoadImageFromFile', 'color_type': 17}, {'type': 'LoadAnnotations'}]
    read = 0
    for name in celeba_split.SPLITS:
        dataset = BaseSegDataset(
            ann_file=f'{name}.txt',
            data_root=str(raw),
            data_prefix={'img_path': celebamask_hq.IMAGES, 'seg_map_path': LABEL_MAPS},
            metainfo={'classes': CLASSES},
            pipeline=pipeline,
        )
        for sample in dataset:
            index = int(sample['img_path'].rpartition('/')[2][:-4])
            assert np.array_equal(sample['gt_seg_map'], truth(index))
            assert sample['img'].shape[:2] == sample['gt_seg_map'].shape == sample['ori_shape']
            read += 1
    assert read == NUM_FACES


def test_flipping_with_swapped_labels_keeps_left_and_right():
    wink = demo_faces.make_scene(0, 3)
    wink = replace(wink, eye_opening=(0.2, 1.2), yaw=0, roll=0, glasses=None, fringe=0, occluder=None)
    portrait = demo_faces.draw_face(wink, 128)
    left, right = CLASSES.index('l_eye'), CLASSES.index('r_eye')
    pairs = [[CLASSES.index(f'l_{name}'), CLASSES.index(f'r_{name}')] for name in ('eye', 'brow', 'ear')]
    flip = RandomFlip(prob=1.0, direction='horizontal', swap_seg_labels=pairs)
    sample = {'img': portrait.image, 'gt_seg_map': portrait.labels.copy(), 'seg_fields': ['gt_seg_map']}
    flipped = flip(sample)['gt_seg_map']
    assert (portrait.labels == right).sum() < 0.6 * (portrait.labels == left).sum()  # the right eye winks
    assert (flipped == left).sum() == (portrait.labels == right).sum()  # in the mirror, the left one
    for found in (portrait.labels, flipped):
        assert np.nonzero(found == left)[1].mean() > np.nonzero(found == right)[1].mean()
