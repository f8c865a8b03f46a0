"""The bar of long work, at a terminal and in a pipe."""

import io

from mmcls import progress
from mmcls.progress import ProgressBar


def run(count: int, seconds: float) -> list[str]:
    """What a bar writes whose ``count`` steps take ``seconds`` each."""
    now, file = 1000.0, io.StringIO()
    with ProgressBar(total=count, desc='reading', unit='image', file=file) as bar:
        bar._time = lambda: now
        bar.start_t = bar.last_print_t = now
        for _ in range(count):
            bar.set_description('reading')  # says nothing by itself
            now += seconds
            bar.update()
    return file.getvalue().strip('\r').splitlines()


def test_in_a_pipe_a_line_comes_twice_a_minute():
    assert run(50, 2) == [
        'reading:  30%| 15 of 50, 01:10 left',
        'reading:  60%| 30 of 50, 00:40 left',
        'reading:  90%| 45 of 50, 00:10 left',
        'reading: 100%| 50 of 50, 00:00 left',
    ]


def test_what_is_quick_says_nothing_in_a_pipe():
    assert not run(10, 2)


def test_at_a_terminal_the_bar_moves(monkeypatch):
    monkeypatch.setattr(progress.sys.stderr, 'isatty', lambda: True, raising=False)
    assert len(run(10, 2)) > 5
