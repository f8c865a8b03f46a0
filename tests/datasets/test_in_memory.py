"""Images held in memory: what a batch of them is, where it is kept, and that nothing downstream can tell."""

import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from mmcls.datasets import ImagesInMemory, SampleBatch
from mmcls.engine.finite import name_images
from mmcls.errors import UnusableInputError
from mmcls.models import PooledMLPHead
from mmengine.runner import Runner
from mmpretrain.models import LinearClsHead
from mmpretrain.structures import DataSample
from PIL import Image

PIPELINE = [{'type': 'LoadImageFromFile'}, {'type': 'PackInputs'}]


@pytest.fixture
def folder(tmp_path):
    draws = np.random.default_rng(0)
    for index in range(12):
        path = tmp_path / 'images' / 'ab'[index % 2] / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(path)
    return tmp_path


def config(folder, pipeline=PIPELINE, **options):
    dataset = {'type': 'CustomDataset', 'data_root': str(folder), 'data_prefix': 'images', 'pipeline': pipeline}
    return {'dataset': dataset | options, 'folder': str(folder / 'decoded')}


def test_a_batch_holds_what_the_data_set_gives_one_by_one(folder):
    held = ImagesInMemory(**config(folder))
    loader = Runner.build_dataloader(
        {
            'batch_size': 5,
            'num_workers': 0,
            'sampler': {'type': 'DefaultSampler', 'shuffle': True},
            'collate_fn': {'type': 'whole_batch'},
            'dataset': held,
        },
        seed=3,
    )
    batches = list(loader)
    assert [len(batch['inputs']) for batch in batches] == [5, 5, 2]
    seen = []
    for batch in batches:
        assert batch['inputs'].dtype == torch.uint8
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
            alone = held.dataset[sample.sample_idx]
            assert torch.equal(image, alone['inputs'])
            assert sample.gt_label == alone['data_samples'].gt_label
            assert sample.img_path == alone['data_samples'].img_path
            seen.append(sample.sample_idx)
    assert sorted(seen) == list(range(12))
    assert torch.equal(held[-1]['inputs'], held.dataset[11]['inputs'])
    assert len([sample for sample in held]) == 12  # ends by IndexError
    assert held.metainfo['classes'] == ('a', 'b')


def test_images_are_decoded_once_and_anew_when_a_file_changes(folder):
    first = ImagesInMemory(**config(folder))
    kept = sorted((folder / 'decoded').glob('*.npy'))
    again = ImagesInMemory(**config(folder))
    assert sorted((folder / 'decoded').glob('*.npy')) == kept
    assert np.array_equal(first.images, again.images)
    Image.new('RGB', (5, 6), 'red').save(folder / 'images/a/0.png')
    os.utime(folder / 'images/a/0.png', ns=(1, 1))
    changed = ImagesInMemory(**config(folder))
    assert np.array_equal(changed.images[0, 2], np.full((6, 5), 255))  # LoadImageFromFile gives BGR
    assert len(list((folder / 'decoded').glob('*.npy'))) == 2


def test_the_fingerprint_changes_with_any_file_and_not_with_its_place(folder, tmp_path_factory):
    elsewhere = shutil.copytree(folder, tmp_path_factory.mktemp('elsewhere') / 'copy')
    first = ImagesInMemory(**config(folder)).fingerprint()
    assert ImagesInMemory(**config(elsewhere)).fingerprint() == first
    path, looked_at = folder / 'images/b/1.png', [0]
    path.write_bytes(path.read_bytes() + b'more')  # the same picture

    class FewLookedAt(ImagesInMemory):
        def __getattribute__(self, name):
            images = super().__getattribute__(name)
            return images[looked_at] if name == 'images' else images

    assert FewLookedAt(**config(folder)).fingerprint() != FewLookedAt(**config(elsewhere)).fingerprint()


def test_names_that_are_no_text_are_held(folder):
    (folder / 'images/a/0.png').rename(folder / 'images/a' / os.fsdecode(b'caf\xe9.png'))
    held = ImagesInMemory(**config(folder))
    assert len(held) == 12
    assert held.fingerprint()


def _decode(settings):
    return int(ImagesInMemory(**settings).images.astype(int).sum())


def test_processes_that_meet_decode_once(folder):
    with ProcessPoolExecutor(3, mp_context=get_context('fork')) as pool:
        sums = list(pool.map(_decode, [config(folder)] * 3))
    assert len(set(sums)) == 1
    assert len(list((folder / 'decoded').glob('*.npy'))) == 1
    assert not list((folder / 'decoded').glob('*.partial'))


@pytest.mark.parametrize(('pipeline', 'limit', 'message'), [
    ([PIPELINE[0], {'type': 'RandomFlip', 'prob': 0.5}, PIPELINE[1]], 1, 'its pipeline draws: RandomFlip'),
    ([PIPELINE[0], {'type': 'Rotate', 'magnitude_range': (5, 90), 'prob': 0.9}, PIPELINE[1]], 1, 'another one each'),
    ([PIPELINE[0], {'type': 'Normalize', 'mean': [0] * 3, 'std': [255] * 3}, PIPELINE[1]], 1, 'gives torch.float32'),
    (PIPELINE, 1e-7, 'take 0.0 GiB, and ImagesInMemory.limit is 1e-07'),
])  # fmt: skip
def test_what_cannot_be_held_is_refused(pipeline, limit, message, folder):
    with pytest.raises(UnusableInputError, match=message):
        ImagesInMemory(**config(folder, pipeline), limit=limit)


def test_images_of_several_sizes_are_refused_by_name_and_nothing_is_left(folder):
    Image.new('RGB', (7, 7)).save(folder / 'images/b/5.png')
    with pytest.raises(UnusableInputError, match=r'b/5.png\) is \(3, 7, 7\), the first \(3, 6, 5\)'):
        ImagesInMemory(**config(folder))
    assert not [path for path in (folder / 'decoded').iterdir() if path.suffix != '.lock']


def test_heads_and_messages_take_a_batch_as_they_take_a_list():
    labels = torch.tensor([2, 0, 1, 1])
    batch = SampleBatch(gt_label=labels, sample_idx=torch.tensor([7, 3, 5, 9]))
    samples = [
        DataSample(metainfo={'sample_idx': i}).set_gt_label(k) for i, k in zip((7, 3, 5, 9), labels, strict=True)
    ]
    torch.manual_seed(0)
    features = [torch.randn(4, 8, 2, 2)]
    head = PooledMLPHead(num_classes=3, in_channels=8)
    assert torch.equal(head.loss(features, batch), head.loss(features, samples))
    linear = LinearClsHead(3, 8)
    pooled = (features[0].mean((2, 3)),)
    assert torch.equal(linear.loss(pooled, batch)['loss'], linear.loss(pooled, samples)['loss'])
    predicted = head.predict(features, batch)
    assert [sample.gt_label.item() for sample in predicted] == labels.tolist()
    assert all('pred_score' in sample for sample in predicted)
    assert name_images({'data_samples': batch}) == name_images({'data_samples': samples})
    with pytest.raises(ValueError, match='gives no gt_label'):
        head.loss(features, SampleBatch(sample_idx=batch.sample_idx))
