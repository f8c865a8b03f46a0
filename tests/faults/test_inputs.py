"""What a run is given: damaged images, a hub that cannot be reached, a port in use, files with code in them."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmcls.models.teachers.pipelines import load_pipeline
from runs import FROM_FILES, IN_MEMORY, TREE, assert_same_weights, train

FINETUNE = 'configs/baseline/r18_b64_digits_finetune_repfusion.py'
KD = 'configs/kd/r18-r18_kd_digits.py'


def test_a_damaged_image_is_named_and_the_run_goes_on_once_it_is_mended(options, whole, copied, digits, tmp_path):
    (copied / 'last_checkpoint').unlink()
    (copied / 'epoch_3.pth').unlink()
    shutil.copytree(digits, tmp_path / 'digits')
    name = (digits / 'meta' / 'train.txt').read_text().splitlines()[50].split()[0]
    image = tmp_path / 'digits' / 'images' / name
    content = image.read_bytes()
    data = [f'data_root={tmp_path / "digits"}', 'train_dataloader.num_workers=2']
    for damaged in (b'', b'no image'):
        image.write_bytes(damaged)
        output = train(FROM_FILES, copied, options + data, '--resume', code=1)
        assert f'SampleError: img_path={image} could not be loaded' in output
        assert 'Pin memory' not in output
        assert [path.name for path in copied.glob('*.pth*')] == ['epoch_2.pth']
    image.write_bytes(content)
    train(FROM_FILES, copied, options + data, '--resume')
    assert_same_weights(copied / 'epoch_3.pth', whole / 'epoch_3.pth')


def test_a_damaged_image_is_named_where_all_are_decoded_before(options, digits, tmp_path):
    shutil.copytree(digits, tmp_path / 'digits')
    name = (digits / 'meta' / 'train.txt').read_text().splitlines()[50].split()[0]
    (tmp_path / 'digits' / 'images' / name).write_bytes(b'no image')
    output = train(IN_MEMORY, tmp_path / 'run', [*options, f'data_root={tmp_path / "digits"}'], code=1)
    assert f'SampleError: img_path={tmp_path / "digits" / "images" / name} could not be loaded' in output


def test_a_hub_that_cannot_be_reached_is_told_from_a_model_that_is_not_there(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionRefusedError('there is no network')

    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    monkeypatch.setattr(time, 'sleep', lambda seconds: None)  # between five tries
    with pytest.raises(FileNotFoundError, match='copy the pipeline folder') as error:
        load_pipeline('google/no-such-model', 'DDPMPipeline', {'unet': 'UNet2DModel'})
    assert '(ConnectionRefusedError: there is no network)' in str(error.value)
    assert "teacher.pretrained='google/no-such-model'" in str(error.value)


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as other:
        other.bind(('', 0))
        other.listen()
        port = str(other.getsockname()[1])
        command = ['bash', 'tools/dist_train.sh', IN_MEMORY, '1', '--work-dir', tmp_path / 'run']
        environment = os.environ | {'PYTHON': sys.executable, 'PORT': port}
        result = subprocess.run(command, cwd=TREE, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert f'port: {port}' in result.stderr
    assert 'address already in use' in result.stderr
    assert not (tmp_path / 'run').exists()


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.fixture(params=['zip', 'legacy'])
def malicious(request, tmp_path) -> Path:
    """A checkpoint with code that makes the folder ``it_ran`` beside it."""
    path = tmp_path / 'malicious.pth'
    contents = {'meta': {'epoch': 1, 'iter': 6}, 'state_dict': {}, 'code': RunsCode(tmp_path / 'it_ran')}
    torch.save(contents, path, _use_new_zipfile_serialization=request.param == 'zip')
    torch.load(path, weights_only=False)
    (tmp_path / 'it_ran').rmdir()  # it would run
    return path


def teacher_with(malicious: Path, pipeline_folder: str) -> Path:
    """A pipeline whose U-Net has pickled weights."""
    folder = malicious.parent / 'pipeline'
    shutil.copytree(pipeline_folder, folder)
    (folder / 'unet' / 'diffusion_pytorch_model.safetensors').unlink()
    shutil.copy(malicious, folder / 'unet' / 'diffusion_pytorch_model.bin')
    return folder


def test_code_in_a_checkpoint_does_not_run(options, pipeline_folder, malicious, tmp_path):
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    shutil.copy(malicious, work_dir / 'epoch_1.pth')
    student = [option for option in options if not option.startswith('model.teacher')] + ['model.head.in_channels=32']
    teacher = teacher_with(malicious, pipeline_folder)
    runs = {
        f'load_from={str(malicious)!r}': (FROM_FILES, [*options, f'load_from={malicious}'], ()),
        f'--resume {malicious}': (FROM_FILES, options, ('--resume', str(malicious))),
        f'The checkpoint {work_dir / "epoch_1.pth"}': (FROM_FILES, options, ('--resume',)),
        f'init_cfg.checkpoint={str(malicious)!r}': (
            FINETUNE,
            [*student, f'model.backbone.init_cfg.checkpoint={malicious}'],
            (),
        ),
        f'teacher.checkpoint={str(malicious)!r}': (KD, [*student, f'model.teacher.checkpoint={malicious}'], ()),
        f'pipeline in {str(teacher)!r}': (FROM_FILES, [*options, f'model.teacher.pretrained={teacher}'], ()),
    }
    for named, (config, settings, arguments) in runs.items():
        output = train(config, work_dir, settings, *arguments, code=1)
        assert named in output
        assert not (tmp_path / 'it_ran').exists(), named


def test_code_beside_a_teacher_does_not_run(pipeline_folder, tmp_path):
    folder = shutil.copytree(pipeline_folder, tmp_path / 'pipeline')
    index = json.loads((folder / 'model_index.json').read_text())
    index['unet'][0] = 'module'
    (folder / 'model_index.json').write_text(json.dumps(index))
    (folder / 'unet' / 'module.py').write_text(f'import os\nos.mkdir({str(tmp_path / "it_ran")!r})\n')
    with pytest.raises(ValueError, match='trust_remote_code'):
        load_pipeline(str(folder), 'DDPMPipeline', {'unet': 'UNet2DModel'})
    assert not (tmp_path / 'it_ran').exists()
