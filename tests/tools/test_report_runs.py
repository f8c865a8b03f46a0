"""How the report reads work directories."""

import json

from mmcls.apis.report.curves import is_error
from mmcls.apis.report.page import _command
from mmcls.apis.report.results import final_metrics, summarize
from mmcls.apis.report.runs import Group, find_runs
from processes import run_tool


def test_a_resumed_run_is_one_curve(tmp_path):
    def write(start: str, rows: list[dict], end: str = '\n') -> None:
        path = tmp_path / start / 'vis_data/scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text('\n'.join(map(json.dumps, rows)) + end)

    row = {'lr': 0.1, 'epoch': 1}
    write('20260101_000000', [{**row, 'loss': i, 'iter': i} for i in (1, 2, 3)] + [{'acc': 5, 'step': 1}])
    write('20260101_000001', [{**row, 'loss': 10 + i, 'iter': i} for i in (2, 3, 4)], end='\n{"loss": 14, "it')
    (run,) = find_runs([tmp_path])
    assert [(row['iter'], row.get('loss')) for row in run.rows] == [(1, 1), (2, 12), (3, 13), (4, 14)]


def test_the_newest_test_and_the_last_validation_are_the_results(tmp_path):
    for start, accuracy in (('20260101_000001', 50.0), ('20260101_000002', 60.0)):  # as tools/test.py leaves them
        (tmp_path / start).mkdir()
        (tmp_path / start / f'{start}.json').write_text(json.dumps({'accuracy/top1': accuracy, 'time': 1.0}))
    rows = [{'lr': 0.1, 'epoch': 1, 'iter': 5, 'loss': 2.0}, {'accuracy/top1': 40.0, 'time': 1.0, 'step': 1}]
    path = tmp_path / '20260101_000000/vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
    (run,) = find_runs([tmp_path])
    assert final_metrics(run) == {'accuracy/top1': 40.0, 'test accuracy/top1': 60.0, 'loss': 2.0}


def test_what_a_policy_drew_is_no_metric(tmp_path):
    rows = [{'lr': 0.1, 'iter': 5, 'loss': 2.0}, {'timestep_share/0': 1.0, 'step': 5}]
    path = tmp_path / '20260101_000000/vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
    (run,) = find_runs([tmp_path])
    assert final_metrics(run) == {'loss': 2.0}


def test_the_environment_is_that_of_the_training(tmp_path):
    for start, gpus in (('20260101_000000', 8), ('20260101_000001', 1)):  # then a test
        (tmp_path / start).mkdir()
        (tmp_path / start / f'{start}.log').write_text(f'System environment:\n    GPU number: {gpus}\n')
    path = tmp_path / '20260101_000000/vis_data/scalars.json'
    path.parent.mkdir()
    path.write_text('{"lr": 0.1, "loss": 1, "iter": 1}\n')
    (run,) = find_runs([tmp_path])
    assert run.environment == {'GPU number': '8'}


def test_what_repeats_a_run_that_went_on_starts_from_the_beginning(tmp_path):
    path = tmp_path / 'run/20260101_000000/vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('{"lr": 0.1, "loss": 1, "iter": 1}\n')
    path.with_name('config.py').write_text("default_scope = 'mmpretrain'\nresume = True\nload_from = 'epoch_1.pth'\n")
    command = _command(Group('run', find_runs([tmp_path])))
    assert command.endswith('--cfg-options resume=False load_from=None')


def test_the_picture_of_the_results_is_of_the_fields_metric(tmp_path):
    for name in ('scratch', 'distilled'):
        path = tmp_path / name / '20260101_000000/vis_data/scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text('{"lr": 0.1, "loss": 1, "iter": 1}\n{"aAcc": 90.0, "mIoU": 20.0, "step": 1}\n')
    results = summarize('s', [Group(run.name, [run]) for run in find_runs([tmp_path])])
    assert results.columns == ['aAcc', 'mIoU', 'loss']
    assert results.main == 'mIoU'


def test_a_single_run_has_the_standard_errors_that_it_measured(tmp_path):
    for name, seeds in (('one', 1), ('two', 2)):
        for seed in range(seeds):
            path = tmp_path / name / str(seed) / '20260101_000000/vis_data/scalars.json'
            path.parent.mkdir(parents=True)
            path.write_text(f'{{"quality/student_knn": {40 + seed}, "quality/student_knn_error": 1.5, "step": 6}}\n')
    groups = [Group(name, find_runs([tmp_path / name])) for name in ('one', 'two')]
    results = summarize('s', groups)
    assert results.columns == ['quality/student_knn']
    assert results.rows == [['40 (standard error 1.5)'], ['40.5 ± 0.71']]
    assert not is_error('mean_error', ['mean_error'])  # a metric of its own


def test_what_is_no_run_is_refused(tmp_path):
    for argument, message in ((tmp_path / 'gone', 'There is no folder'), (tmp_path, 'holds no run')):
        code, output = run_tool('report.py', argument, '--out', tmp_path / 'report.html')
        assert code == 1
        assert message in output
    assert not list(tmp_path.iterdir())


def test_a_seed_that_ended_in_no_number_is_shown(tmp_path):
    for seed, value in enumerate(('0.5', 'NaN')):
        path = tmp_path / str(seed) / '20260101_000000/vis_data/scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text(f'{{"lr": 0.1, "loss": {value}, "iter": 1}}\n')
    other = tmp_path / 'other' / '20260101_000000/vis_data/scalars.json'
    other.parent.mkdir(parents=True)
    other.write_text('{"lr": 0.1, "loss": 1, "iter": 1}\n')
    groups = [
        Group('two', find_runs([tmp_path / '0', tmp_path / '1'])),
        Group('other', find_runs([tmp_path / 'other'])),
    ]
    assert summarize('s', groups).rows == [['nan ± nan'], ['1']]
