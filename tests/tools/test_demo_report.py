"""What the demo reports: starts compared at the learning rates that validation chose."""

import csv
import json
from dataclasses import replace
from statistics import stdev

import pytest
from mmcls.apis.jobs import Job
from mmcls.demo import report as demo_report
from mmcls.demo.comparison import Comparison


@pytest.fixture
def comparison(tmp_path) -> Comparison:
    """NME of three starts at 20 labels, two learning rates, three seeds; lower is better."""
    validation = {  # of the learning rates 0.1 and 0.2
        'scratch, one': (0.10, 0.30),
        'scratch, other': (0.40, 0.09),
        'REINFORCE': (0.20, 0.05),
    }
    tested = {
        'scratch, one': (0.01, 0.01, 0.01),
        'scratch, other': (0.09, 0.08, 0.10),
        'REINFORCE': (0.08, 0.07, 0.085),
    }
    distillation = Job('distil', '', tmp_path / 'distil')
    log(distillation, {'timestep_mean': 200, 'time': 0.03})
    rows = [{'iter': i, 'num_timesteps': 1000, 'counts': counts} for i, counts in ((50, [5, 5]), (100, [1, 9]))]
    (distillation.work_dir / 'timestep_histogram.jsonl').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
    runs = {}
    for start, of_rates in validation.items():
        for rate, value in zip((0.1, 0.2), of_rates, strict=True):
            for seed in range(3):
                needs = (distillation,) if start == 'REINFORCE' else ()
                job = runs[start, 20, rate, seed] = Job('', '', tmp_path / f'{start}{rate}{seed}', needs=needs)
                log(job, {'NME': 1.0}, {'NME': value + 0.01 * seed}, {'loss': 3})
                if value == min(of_rates):  # only these are tested
                    (job.work_dir / 'test').mkdir()
                    (job.work_dir / 'test' / 'metrics.json').write_text(json.dumps({'NME': tested[start][seed]}))
    return Comparison('NME, %', 'NME', runs, 'iter_1.pth', factor=100, higher_is_better=False)


def log(job: Job, *rows: dict) -> None:
    folder = job.work_dir / '20260101' / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))


def test_validation_images_choose_rates_and_the_strongest_scratch(comparison):
    assert [comparison.rate(start, 20) for start in comparison.starts] == [0.1, 0.2, 0.2]
    assert comparison.strongest_scratch(20) == 'scratch, other'  # though the other is better on test images
    assert {test.checkpoint for test in comparison.tests.values()} == {
        comparison.jobs[start, 20, comparison.rate(start, 20), seed].work_dir / 'iter_1.pth'
        for start in comparison.starts
        for seed in comparison.seeds
    }
    upwards = replace(comparison, higher_is_better=True)
    assert [upwards.rate(start, 20) for start in upwards.starts] == [0.2, 0.1, 0.1]


def test_only_the_first_seeds_run_at_all_rates(comparison):
    assert len(comparison.tuning) == 3 * 2 * 2  # starts, rates, tuning seeds
    assert len(comparison.chosen) == 3 * 3  # starts, seeds
    last = [job.work_dir.name for (*_, seed), job in comparison.jobs.items() if seed == 2]
    assert not {job.work_dir.name for job in comparison.tuning} & set(last)


def test_the_difference_is_of_pairs(comparison):
    difference, error = comparison.difference('REINFORCE', 'scratch, other', 20)
    assert difference == pytest.approx((-1 - 1 - 1.5) / 3)
    assert error == pytest.approx(stdev([-1, -1, -1.5]) / 3**0.5)


def test_the_report_says_which_start_is_better(comparison, tmp_path):
    text = demo_report.write([comparison], tmp_path, 'made')
    assert '| scratch, other | 9.0 (1.0) at 0.2 |  |  |' in text
    assert '| REINFORCE | 7.8 (0.8) at 0.2 | 200 | 30 |' in text
    against = 'With 20 labels, against scratch, other (the best on validation images): REINFORCE -1.2 points'
    assert f'{against} (standard error 0.2), better.' in text
    assert text.endswith('better.')
    assert '90% in [500, 1000), 10% in [0, 500)' in text
    assert (tmp_path / 'figure_made.png').stat().st_size > 10_000
    assert (tmp_path / 'table_made.md').read_text().strip() == text.strip()


def test_a_first_table_is_of_validation_images(comparison):
    text = demo_report.preview([comparison])
    assert 'NME, %, validation images, mean of 2 seeds at the best of 2 learning rates; 3 seeds on test' in text
    assert '| REINFORCE | 5.5 at 0.2 |' in text


def test_raw_rows_are_those_that_ran(comparison, tmp_path):
    demo_report.write([comparison], tmp_path, 'made')
    with open(tmp_path / 'rows_made.csv', newline='') as file:
        header, *rows = csv.reader(file)
    assert header == ['task', 'start', 'labels', 'learning_rate', 'seed', 'validation', 'test']
    assert len(rows) == 3 * (2 * 2 + 1)  # starts, rates and tuning seeds, and the last seed at the chosen rate
    assert ['NME', 'REINFORCE', '20', '0.2', '2', '7.0', '8.5'] in rows
    assert ['NME', 'scratch, one', '20', '0.2', '0', '30.0', ''] in rows


def test_starts_may_lack_numbers_of_labels(comparison, tmp_path):
    more = {(*key[:1], 50, *key[2:]): job for key, job in comparison.jobs.items() if key[0].startswith('scratch')}
    sparse = replace(comparison, jobs=comparison.jobs | more, highlighted='REINFORCE')
    assert sparse.starts_with(50) == ['scratch, one', 'scratch, other']
    text = demo_report.write([sparse], tmp_path, 'sparse')
    assert '| REINFORCE | 7.8 (0.8) at 0.2 |  | 200 | 30 |' in text


def test_a_difference_within_twice_its_error_is_none(comparison, tmp_path):
    metrics = comparison.tests['REINFORCE', 20, 0].work_dir / 'metrics.json'
    metrics.write_text(json.dumps({'NME': 0.2}))
    assert 'REINFORCE +2.8 points (standard error 4.1), no difference' in demo_report.write([comparison], tmp_path, 'a')
