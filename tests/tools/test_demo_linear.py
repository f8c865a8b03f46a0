"""Linear classifiers of what the starts of the demo's part cifar10 know before they are fine-tuned."""

import csv
from dataclasses import replace

import pytest
from mmcls.demo import cifar10, linear
from mmcls.demo.comparison import SCRATCH

LABELS, ALL = 20, 1000


@pytest.fixture
def comparison(digits, monkeypatch, tmp_path):
    """Those of the starts that need no training, on the digits."""
    monkeypatch.setenv('HOME', str(tmp_path))  # decoded images are kept there
    size = replace(cifar10.CPU, unlabelled=ALL, label_counts=(LABELS,), validation='val')
    (whole,) = cifar10.plan(cifar10.Part(size, 'none'))
    folders = {f'{split}_dataloader.dataset.dataset.data_root': digits for split in ('train', 'val', 'test')}
    names = {f'{split}_dataloader.dataset.dataset.metainfo.classes': list('0123456789') for split in ('train', 'test')}
    jobs = {
        key: replace(job, options=job.options | folders | names)
        for key, job in whole.jobs.items()
        if key[0] in SCRATCH and key[2] == cifar10.RATES[0] and key[3] < 2
    }
    return replace(whole, jobs=jobs)


def test_each_start_and_the_teacher_are_read_with_the_labels_of_each_seed(comparison, pipeline_folder, tmp_path):
    table = linear.write(comparison, pipeline_folder, tmp_path, 'digits')
    rows = list(csv.DictReader((tmp_path / 'linear_digits.csv').open()))
    found = {(row['start'], int(row['labels']), int(row['seed'])): float(row['accuracy']) for row in rows}
    assert len(rows) == len(found) == 3 * 2 * 2
    for start in (linear.TEACHER, *SCRATCH):
        few, all_ = (found[start, count, 0] for count in (LABELS, ALL))
        assert few < all_
        assert all_ > 50 or "MMPretrain's" in start  # whose residual branches begin at zero; chance is 10
        assert found[start, LABELS, 1] != few  # other labels
        assert f'| {start} | ' in table


def test_labelled_images_are_found_again_among_all(comparison, digits):
    splits = linear.Splits(comparison)
    for (count, seed), positions in splits.labelled.items():
        lines = (digits / 'meta' / f'train_{count}_{seed}.txt').read_text().splitlines()
        assert splits.labels[positions].tolist() == [int(line.split()[1]) for line in lines]
        assert positions.max() < ALL == len(splits.train)
    seen = {tuple(splits.labelled[LABELS, seed].tolist()) for seed in (0, 1)}
    assert len(seen) == 2
