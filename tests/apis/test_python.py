"""What the package offers to Python, each function called in this process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcls import distill, load_student, load_teacher, probe, publish, report
from mmcls.errors import RepFusionError, UnusableInputError
from PIL import Image
from support import ROOT

LAYER = 'mid_block.resnets.1.conv2'


@pytest.fixture(scope='module')
def photos(tmp_path_factory) -> Path:
    """Three dark and three light images of several sizes, in a folder each."""
    folder = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for name, low in (('dark', 0), ('light', 160)):
        (folder / name).mkdir()
        for index in range(6):
            pixels = rng.integers(low, low + 90, (20 + index, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f'{index}.png')
    return folder


def pairs(photos: Path) -> list:
    return [(Image.open(path), int(path.parent.name == 'light')) for path in sorted(photos.rglob('*.png'))]


def test_a_teacher_reads_pil_images_arrays_and_tensors_alike(pipeline_folder):
    teacher = load_teacher(pipeline_folder)
    pixels = np.random.default_rng(0).integers(256, size=(2, 8, 8, 3), dtype=np.uint8)
    tensor = torch.from_numpy(pixels).movedim(-1, 1)
    expected = teacher(tensor / 127.5 - 1, torch.tensor([10, 10]))[LAYER]
    for images in ([Image.fromarray(image) for image in pixels], pixels, tensor, tensor / 255, list(tensor)):
        assert torch.allclose(teacher.read(images, 10)[LAYER], expected, atol=1e-5)
    assert torch.allclose(teacher.read(Image.fromarray(pixels[1]), 10)[LAYER], expected[1:], atol=1e-5)
    assert torch.allclose(teacher.read(pixels, [10, 20])[LAYER][0], expected[0], atol=1e-5)


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (torch.full((3, 8, 8), 2.0), r'values in \[2, 2\]: expected uint8, or floats in \[0, 1\]'),
        (torch.zeros(4, 8, 8), r'shape \(4, 8, 8\): expected \(3, H, W\)'),
    ],
)
def test_what_is_no_image_is_refused(image, message, pipeline_folder):
    with pytest.raises(UnusableInputError, match=message):
        load_teacher(pipeline_folder).read(image, 0)


def test_a_probe_finds_light_and_dark(photos, pipeline_folder):
    train, test = pairs(photos)[::2], pairs(photos)[1::2]
    rows = probe(pipeline_folder, train, test, timesteps=[0, 500])
    assert {row['timestep'] for row in rows} == {0, 500}
    assert {'down_blocks.0.resnets.0', 'mid_block.resnets.1'} <= {row['layer'] for row in rows}
    assert max(row['linear'] for row in rows) == 100
    teacher = load_teacher(pipeline_folder, [LAYER])
    assert [row['layer'] for row in probe(teacher, train, test, timesteps=[0])] == [LAYER]
    with pytest.raises(UnusableInputError, match=r'timesteps \[1000\]: expected 0 to 999'):
        probe(teacher, train, test, timesteps=[1000])


def test_from_a_folder_to_a_student(photos, pipeline_folder, tmp_path, monkeypatch):
    started, start = [], subprocess.Popen
    monkeypatch.setattr(subprocess, 'Popen', lambda args, **more: started.append(str(args)) or start(args, **more))
    run = distill(photos, pipeline_folder, 'resnet18', tmp_path / 'out', epochs=1, batch_size=4, workers=0)
    commands = (tmp_path / 'out' / 'commands.sh').read_text()
    assert [name in commands for name in ('train.py', 'dist_train.sh', 'publish_student.py', 'report.py')] == [True] * 4
    assert not [command for command in started if 'tools/' in command]
    student = load_student(run.checkpoint)
    images = [image for image, _ in pairs(photos)]
    maps = student.read(images, (8, 8))
    assert maps[-1].shape[:2] == (12, 512)
    published = load_student(tmp_path / 'out' / 'student')
    assert all(torch.equal(*both) for both in zip(published.read(images, (8, 8)), maps, strict=True))
    pixels = torch.stack([torch.from_numpy(np.array(image.resize((8, 8)))) for image in images]).movedim(-1, 1)
    normalized = (pixels - torch.tensor(student.mean)) / torch.tensor(student.std)
    assert torch.allclose(student.backbone(normalized)[-1], student(pixels / 255)[-1], atol=1e-4)
    with pytest.raises(UnusableInputError, match='exists'):
        publish(run.checkpoint, tmp_path / 'out' / 'student')
    assert publish(run.checkpoint, tmp_path / 'again', formats=['pth']).endswith('of epoch 1, iteration 3.')
    assert report([run.work_dir], tmp_path / 'report.html').startswith(f'{tmp_path / "report.html"}: 1 run, ')


def test_a_wrong_source_is_of_the_one_family_of_errors(tmp_path):
    with pytest.raises(RepFusionError, match='holds no images'):
        distill(tmp_path, 'no/model', 'resnet18', tmp_path / 'out')
    with pytest.raises(RepFusionError, match='There is no file'):
        load_student(tmp_path / 'student.pth')
    with pytest.raises(RepFusionError, match='There is no folder'):
        report([tmp_path / 'none'])


def test_names_are_there_in_a_fresh_interpreter_and_heavy_libraries_are_not():
    code = (
        'import sys, mmcls\n'
        'heavy = ("sklearn", "matplotlib", "diffusers", "timm", "onnx")\n'
        'print([name for name in heavy if name in sys.modules])\n'
        'from mmcls import load_teacher, probe, distill, load_student, publish, transfer, report\n'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == '[]'
    assert result.stderr == ''


def test_the_notebook_runs(photos, pipeline_folder, tmp_path, monkeypatch):
    import matplotlib

    matplotlib.use('agg')
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / 'docs/notebooks/folder.ipynb').read_text())['cells']
    code = '\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code')
    replaced = {
        "Path('photos')": f'Path({str(photos)!r})',
        "'google/ddpm-cifar10-32'": repr(pipeline_folder),
        "'resnet18', 100": "'resnet18', 1",
    }
    for old, new in replaced.items():
        assert old in code
        code = code.replace(old, new)
    names = {}
    exec(code, names)
    assert names['features'].shape[:2] == (6, 512)
