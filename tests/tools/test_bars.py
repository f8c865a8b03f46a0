"""Probing and publishing show at a terminal how far they are."""

import io
import sys

from support import ROOT, door

CONFIG = 'classification_distill/configs/digits-hint/ddpm-r18_hint.py'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watch(monkeypatch) -> Terminal:
    screen = Terminal()
    monkeypatch.setattr(sys, 'stderr', screen)
    return screen


def test_probing_counts_images(digits, pipeline_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = f'_base_ = {str(ROOT / CONFIG)!r}\nmodel = dict(teacher=dict(pretrained={pipeline_folder!r}))\n'
    for split in ('train', 'val'):
        text += f'{split}_dataloader = dict(dataset=dict(dataset=dict(data_root={str(digits)!r})))\n'
    (tmp_path / 'probe.py').write_text(text)
    arguments = ['--layers', 'mid_block', '--timesteps', 0, 500, '--train', 40, '--test', 24, '--batch-size', 16]
    terminal = watch(monkeypatch)
    door('probe', 'probe.py', 'probe.py', *arguments)
    last = terminal.getvalue().split('\r')[-1]
    assert last.startswith('t = 500: 100%')
    assert '128/128' in last


def test_publishing_counts_files(tmp_path, monkeypatch):
    from mmcls.apis.card import Facts
    from mmcls.apis.publish import write_folder
    from mmcls.apis.student import Student
    from mmpretrain.registry import MODELS

    settings = {'type': 'WideResNet', 'depth': 10, 'width_factor': 1}
    backbone = MODELS.build(settings)
    backbone.eval()
    student = Student(backbone, settings, {'model': {'type': 'RepFusion'}}, tmp_path / 'epoch_1.pth', 1, 1, False)
    terminal = watch(monkeypatch)
    write_folder(student, tmp_path / 'student', ['pth', 'safetensors'], Facts('student', 8, 'unknown', None))
    last = terminal.getvalue().split('\r')[-1]
    assert last.startswith('writing pth: 100%')
    assert '2/2' in last
