"""Checkpoints that are not published: damaged ones, those of other models, and those that would run code."""

import os
from pathlib import Path

import pytest
import torch
from publishing import TINY, expect_refusal, random_backbone, save_checkpoint, training_config


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_cannot_be_published_is_refused(capsys):
    backbone = random_backbone(TINY)
    save_checkpoint('epoch_2.pth', backbone, training_config(TINY))
    Path('taken').mkdir()
    expect_refusal(capsys, 'taken exists. Give the name of a new folder', 'epoch_2.pth', 'taken')
    expect_refusal(capsys, "There is no file 'epoch_9.pth'", 'epoch_9.pth', 'student')
    expect_refusal(capsys, "There is no file 'no.py'", 'epoch_2.pth', 'student', '--config', 'no.py')

    Path('damaged.pth').write_bytes(Path('epoch_2.pth').read_bytes()[:1000])
    expect_refusal(capsys, 'damaged.pth is damaged', 'damaged.pth', 'student')
    torch.save({'state_dict': {'backbone.a': torch.zeros(1), 'head.fc.b': torch.zeros(1)}}, 'classifier.pth')
    message = r"no tensor is named student\.backbone\.\*\. Prefixes that it holds: 'backbone\.' \(1 tensors\)"
    expect_refusal(capsys, message, 'classifier.pth', 'student')
    save_checkpoint('other.pth', backbone, training_config(TINY | {'depth': 16}))
    expect_refusal(capsys, r'does not describe the student of other\.pth.*\n*.*Missing key', 'other.pth', 'student')
    save_checkpoint('sizeless.pth', backbone, training_config(TINY, train_dataloader={'dataset': {'pipeline': []}}))
    expect_refusal(capsys, 'does not say how large its images are. Give --image-size', 'sizeless.pth', 'student')


class Code:
    def __reduce__(self):
        return os.system, ('touch executed',)


@pytest.mark.parametrize('where', ['meta', 'message_hub'])
def test_code_in_a_checkpoint_does_not_run(capsys, where):
    weights = {f'student.backbone.{key}': value for key, value in random_backbone(TINY).state_dict().items()}
    torch.save({'meta': {'cfg': training_config(TINY)}, 'state_dict': weights} | {where: {'x': Code()}}, 'epoch_2.pth')
    expect_refusal(capsys, 'holds more than tensors and plain values', 'epoch_2.pth', 'student')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ("import os\nos.system('touch executed')", 'is not plain data'),
        ("model = __import__('os').system('touch executed')", 'is not plain data'),
        ("model = dict(backbone=dict(type='os.system', command='touch executed'))", r"asks for \['os.system'\]"),
        (
            "model = dict(backbone=dict(type='ResNet', depth=18, norm_cfg=dict(type='os.system')))",
            r"asks for \['os.system'\]",
        ),
        ("model = dict(backbone=dict(type='RepFusion'))", 'asks for RepFusion, expected a backbone'),
        ("model = dict(backbone=dict(type='Unheard'))", 'asks for Unheard, expected a backbone'),
    ],
)
def test_code_in_a_checkpoints_config_does_not_run(capsys, text, message):
    save_checkpoint('epoch_2.pth', random_backbone(TINY), text)
    expect_refusal(capsys, message, 'epoch_2.pth', 'student')
