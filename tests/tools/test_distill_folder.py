"""From a folder of pictures to a published student, by real processes, killed half-way and repeated."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnxruntime
import pytest
import timm
import torch
from mmcls import load_student
from mmcls.files import remove
from mmengine.config import Config
from mmpretrain.registry import MODELS
from photo_folder import COUNT, EPOCHS, arguments, draw_photos
from processes import run_tool, start_tool
from safetensors.torch import load_file


@pytest.fixture(scope='module')
def photos(tmp_path_factory) -> Path:
    return draw_photos(tmp_path_factory.mktemp('photos'))


@pytest.fixture(scope='module')
def done(photos, pipeline_folder, tmp_path_factory) -> tuple[Path, list[str]]:
    """The results of a call that was killed and repeated, and what the two printed."""
    out = tmp_path_factory.mktemp('results') / 'out'
    command = arguments(photos, out, pipeline_folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHON', sys.executable)
        patch.setenv('OMP_NUM_THREADS', '1')
        with open(out.with_name('killed.txt'), 'w+') as output:
            process = start_tool('distill_folder.py', *command, output=output)
            while not (out / 'distillation' / 'epoch_1.pth').exists():
                assert process.is_alive(), output.seek(0) or output.read()[-3000:]
                time.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)
            wait_for_lock(out / 'distillation' / 'train.lock')
            output.seek(0)
            killed = output.read()
        assert not (out / 'distillation' / f'epoch_{EPOCHS}.pth').exists()
        code, repeated = run_tool('distill_folder.py', *command)
        assert code == 0, repeated[-3000:]
    return out, [killed, repeated]


def wait_for_lock(path: Path) -> None:
    """The training ends with the process that began it, but saves its state first."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with open(path, 'a') as file:
            try:
                return fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
    raise AssertionError('The training outlives the command that started it.')


def test_unreadable_images_are_named_and_left_out(done):
    out, (killed, _) = done
    assert f'{COUNT} images, no classes' in killed
    assert '3 cannot be read and are left out' in killed
    entries = map(json.loads, (out / 'files.jsonl').read_text().splitlines())
    listed = {entry['name']: entry['problem'] for entry in entries if 'problem' in entry}
    assert listed.keys() == {'Carl/cut.jpg', 'Carl/empty.png', 'Carl/text.jpeg'}
    assert all(f'{name}: {why}' in killed for name, why in listed.items())
    assert len(json.loads((out / 'images.json').read_text())['data_list']) == COUNT


def test_it_goes_on_where_it_was_killed(done):
    out, (killed, repeated) = done
    assert 'DiffusersTeacher, 8 px, layers up_blocks.1.resnets.0 (' in killed
    assert ', mid_block.resnets.1.conv2 (16 channels, stride 2)' in killed
    assert 'Dry run passed: everything was built' in killed
    commands = (out / 'commands.sh').read_text().splitlines()[1:]
    words = ('--dry-run', 'dist_train', 'publish_student', 'report')
    assert all(word in command for word, command in zip(words, commands, strict=True))
    finished = [f'# finished: {command}' in repeated for command in commands]
    assert finished == [True, False, False, False]
    assert all(command in repeated for command in commands)
    logs = sorted((out / 'distillation').glob('*/vis_data/scalars.json'))
    assert len(logs) == 2
    assert json.loads(logs[1].read_text().splitlines()[0])['iter'] > 3


def test_nothing_is_done_twice(done, photos, pipeline_folder):
    out, _ = done
    commands = (out / 'commands.sh').read_text()
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*') if path.suffix in ('.pth', '.html', '.onnx')}
    code, output = run_tool('distill_folder.py', *arguments(photos, out, pipeline_folder))
    assert code == 0, output
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (out / 'commands.sh').read_text() == commands
    assert '#' not in commands
    assert all(f'# finished: {command}' in output for command in commands.splitlines()[1:])


def test_commands_sh_repeats_the_work(done, tmp_path, monkeypatch):
    out, _ = done
    results = ('distillation', 'student', 'report.html')
    for name in results:
        (out / name).rename(tmp_path / name)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('PYTHON', sys.executable)
    try:
        run = subprocess.run(['bash', out / 'commands.sh'], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
        assert all((out / name).exists() for name in results)
    finally:
        for name in results:
            remove(out / name)
            (tmp_path / name).rename(out / name)


def test_torch_timm_mmpretrain_and_onnx_load_the_student(done):
    out, _ = done
    weights = torch.load(out / 'distillation' / f'epoch_{EPOCHS}.pth', weights_only=False)['state_dict']
    prefix = 'student.backbone.timm_model.'
    trained = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}

    def same(found: dict) -> bool:
        return found.keys() == trained.keys() and all(torch.equal(found[key], trained[key]) for key in trained)

    assert same(load_file(out / 'student/model.safetensors'))
    student = timm.create_model('resnet10t', num_classes=0, checkpoint_path=str(out / 'student/model.safetensors'))
    assert same(student.state_dict())
    init_cfg = {'type': 'Pretrained', 'checkpoint': str(out / 'student/student.pth')}
    backbone = MODELS.build({'type': 'TIMMBackbone', 'model_name': 'resnet10t', 'init_cfg': init_cfg})
    backbone.init_weights()
    assert same(backbone.timm_model.state_dict())
    assert same(timm.create_model(f'local-dir:{out / "student"}', pretrained=True).state_dict())
    images = torch.rand(2, 3, 32, 32)
    session = onnxruntime.InferenceSession(out / 'student/student.onnx')
    *_, found = session.run(None, {'images': images.numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(found), load_student(out / 'student').features(images), atol=1e-3)


def test_the_report_and_the_config(done):
    out, _ = done
    report = (out / 'report.html').read_text()
    assert 'loss_distill_mid_block_resnets_1_conv2' in report
    assert 'student after' in report
    config = (out / 'distill.py').read_text()
    assert len(config.splitlines()) < 45
    assert f'bash tools/dist_train.sh {out}/distill.py 1' in config
    assert Config.fromfile(out / 'distill.py').model.timestep_policy == {
        'type': 'FixedPolicy',
        'timestep': 60,
    }
    assert [loss.get('pooled', True) for loss in Config.fromfile(out / 'distill.py').model.distill_loss] == [
        False,
        True,
    ]


def test_other_arguments_are_refused_and_other_images_said(done, photos, pipeline_folder):
    out, _ = done
    code, output = run_tool('distill_folder.py', *arguments(photos, out, pipeline_folder, '--policy', 'reinforce'))
    assert code == 1
    assert 'distill.py is not what these arguments give' in output
    extra = photos / 'extra.jpg'
    extra.write_bytes((photos / 'Carl' / '1.jpg').read_bytes())
    try:
        code, output = run_tool('distill_folder.py', *arguments(photos, out, pipeline_folder))
    finally:
        extra.unlink()
    assert code == 0, output
    assert '1 images have come or gone since the training began (extra.jpg): what is left' in output
