"""Linear classifiers of what the starts of the demo's part cifar10 know before they are fine-tuned."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from mmcls.demo import cifar10, linear, timesteps
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
        assert f'| {start} | ' in table
    assert any(found[start, LABELS, 0] != found[start, LABELS, 1] for start in SCRATCH)  # other labels


def test_labelled_images_are_found_again_among_all(comparison, digits):
    splits = linear.Splits(comparison)
    for (count, seed), positions in splits.labelled.items():
        lines = (digits / 'meta' / f'train_{count}_{seed}.txt').read_text().splitlines()
        assert splits.labels[positions].tolist() == [int(line.split()[1]) for line in lines]
        assert positions.max() < ALL == len(splits.train)
    seen = {tuple(splits.labelled[LABELS, seed].tolist()) for seed in (0, 1)}
    assert len(seen) == 2


def test_an_oracle_chooses_a_timestep_for_each_image(comparison, pipeline_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, 'plan', lambda part: [comparison])
    monkeypatch.setattr(cifar10, 'WORK_DIR', tmp_path)
    for name, value in {'LAYER': 'mid_block.resnets.1.conv2', 'TIMESTEPS': (0, 300), 'LABELS': LABELS}.items():
        monkeypatch.setattr(timesteps, name, value)
    (text,) = timesteps.study(cifar10.Part(teacher=pipeline_folder))
    header, *rows = csv.reader((tmp_path / 'rows_timesteps.csv').open())
    assert header[:2] == ['likelihood, t=0, seed 0', 'right, t=0, seed 0']
    table = np.array(rows, float)
    likelihood, right = table[:, ::2], table[:, 1::2]
    assert likelihood.shape == right.shape == (len(linear.Splits(comparison).val), 3)
    best = likelihood[:, :2].mean(0).argmax()
    assert f't = {(0, 300)[best]}, the best for all | {100 * right[:, best].mean():.1f} |' in text
    chosen = right[np.arange(len(right)), likelihood[:, :2].argmax(1)].mean()
    assert f't of 0, 300, by an oracle for each image | {100 * chosen:.1f} |' in text
    assert (right[:, best] != right[:, 2]).any()  # other labels and noise


def test_where_images_do_not_differ_the_choice_of_a_timestep_gains_no_more_than_that_of_a_classifier():
    draws = np.random.default_rng(0)

    def readings(number, best_for=None):
        """Each right of 60 % of the images; or of all those that it is the best for, and of 20 % of the others."""
        share = np.full((number, 3000), 0.6)
        if best_for is not None:
            share = np.where(best_for == np.arange(number)[:, None], 1.0, 0.2)
        right = draws.random(share.shape) < share
        likelihood = share + draws.random(share.shape) / 10
        return [timesteps.Reading(t, 0, likelihood[t], right[t]) for t in range(number)]

    def gain(one, other):
        return timesteps.choose(one)[1].mean() - timesteps.choose(other)[1].mean()

    assert abs(gain(readings(5), readings(5))) < 0.05
    assert gain(readings(5, draws.integers(5, size=3000)), readings(5)) > 0.3
