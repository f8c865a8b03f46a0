"""How the report reads work directories."""

import json

from processes import run_tool
from report.runs import find_runs


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


def test_what_is_no_run_is_refused(tmp_path):
    for argument, message in ((tmp_path / 'gone', 'There is no folder'), (tmp_path, 'holds no run')):
        code, output = run_tool('report.py', argument, '--out', tmp_path / 'report.html')
        assert code == 1
        assert message in output
    assert not list(tmp_path.iterdir())
