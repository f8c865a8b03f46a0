"""What a person at a terminal sees of a training, and what is left of it in the log."""

import os
import pty
import re
import subprocess
import sys

import pytest
import torch
from mmcls.engine.terminal import RepeatedLine
from mmpretrain.registry import MODELS
from support import ROOT

CONFIG = 'configs/baseline/r18_b64_digits_finetune.py'


def train(digits, work_dir, stdout, start=None) -> subprocess.Popen:
    options = ['model.backbone.base_channels=4', 'model.backbone.stem_channels=4', 'model.head.in_channels=32']
    options.append(f'data_root={digits}')
    if start:
        options += ['model.backbone.init_cfg.type=Pretrained', f'model.backbone.init_cfg.checkpoint={start}']
    options += ['train_cfg.max_iters=40', 'train_cfg.val_interval=20', 'default_hooks.logger.interval=10']
    command = [sys.executable, 'tools/train.py', CONFIG, '--work-dir', work_dir, '--cfg-options', *options]
    return subprocess.Popen(
        [*map(str, command)],
        cwd=ROOT / 'classification_distill',
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | {'OMP_NUM_THREADS': '1', 'COLUMNS': '120', 'TERM': 'xterm'},
    )


def read_terminal(process: subprocess.Popen, terminal: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux says so where another system sends an empty part: nobody writes any more
            break
        if not part:
            break
        parts.append(part)
    assert process.wait() == 0, process.stderr.read().decode()[-3000:]
    return b''.join(parts).decode()


@pytest.fixture(scope='module')
def screen(digits, tmp_path_factory) -> tuple[str, str]:
    """What a training wrote to the terminal, and its log file."""
    work_dir = tmp_path_factory.mktemp('terminal')
    narrow = {'type': 'ResNet_CIFAR', 'depth': 18, 'base_channels': 4, 'stem_channels': 4}
    torch.save(MODELS.build(narrow).state_dict(), work_dir / 'start.pth')
    ours, theirs = pty.openpty()
    process = train(digits, work_dir, theirs, start=work_dir / 'start.pth')
    os.close(theirs)
    return read_terminal(process, ours), next(work_dir.glob('*/*.log')).read_text()


def test_the_terminal_shows_one_line(screen):
    shown, _ = screen
    assert '\x1b[?25l' in shown  # the cursor is hidden while the line moves ...
    assert shown.rindex('\x1b[?25h') > shown.rindex('\x1b[?25l')  # ... and is back at the end
    plain = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', shown)
    lines = [line for line in plain.replace('\r', '\n').splitlines() if line.strip()]
    moving = [line for line in lines if re.search(r'iteration +\d+/40 ', line)]
    assert re.search(r'iteration 40/40 +━+ 100% +0:00:00 left +loss [\d.]+ +accuracy [\d.]+', moving[-1])
    still = [line for line in lines if '━' not in line]
    assert [line.split()[0] for line in still] == ['Training;', 'INFO', 'Done:']
    assert re.search(r'backbone: (\d+) of \1 tensors equal those of', still[1])


def test_the_log_file_is_whole(screen):
    _, log = screen
    assert 'System environment' in log
    assert len(re.findall(r'\(train\).*loss: [\d.]+', log)) == 4
    assert 'accuracy/top1' in log


def test_in_a_pipe_a_line_says_how_far_it_is(digits, tmp_path):
    output, _ = train(digits, tmp_path, subprocess.PIPE).communicate()
    first, *lines, last = output.decode().splitlines()
    assert first.startswith('Training; the log is ')
    assert last.startswith('Done: ')
    assert re.fullmatch(r'iteration  1/40 +2%  [\d:]+ left', lines[0])
    assert re.fullmatch(r'iteration 40/40 +100%  [\d:]+ left  loss [\d.]+  accuracy [\d.]+', lines[-1])
    assert all(line.startswith(('iteration', 'validation')) for line in lines)
    assert len(lines) < 8


def test_in_a_pipe_the_line_comes_twice_a_minute(monkeypatch, capsys):
    line = RepeatedLine()
    for second in range(1, 81):
        monkeypatch.setattr('time.monotonic', lambda now=second: 1000 + now)
        line.show(f'iteration {second}', second, 80, '')
    assert [row.split()[1] for row in capsys.readouterr().out.splitlines()] == ['1', '31', '61', '80']
