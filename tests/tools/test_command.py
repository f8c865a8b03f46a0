"""The command ``repfusion``, from the repository and from a wheel."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest
import repfusion
from support import ROOT


def test_every_command_is_told_of(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['repfusion'])
    repfusion.main()
    text = capsys.readouterr().out
    for name, file in repfusion.COMMANDS.items():
        assert f'\n  {name} ' in text
        assert (ROOT / 'tools' / f'{file}.py').is_file()
    doors = {path.stem for path in (ROOT / 'tools').glob('*.py')}
    assert doors == {'list_configs', *repfusion.COMMANDS.values()}  # it keeps a page of the repository


def test_commands_are_called_and_unknown_ones_refused(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['repfusion', 'distill', '--help'])
    with pytest.raises(SystemExit) as stopped:
        repfusion.main()
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith('usage: repfusion distill folder --teacher')
    monkeypatch.setattr(sys, 'argv', ['repfusion', 'distil'])
    with pytest.raises(SystemExit, match=r"There is no command 'distil'\.\n\nusage"):
        repfusion.main()


def test_what_pip_could_not_bring_is_named(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['repfusion', 'train', 'config.py'])
    monkeypatch.setattr(repfusion, 'INSTALLED_BY', {'no_such_module': 'pip install it'})
    with pytest.raises(SystemExit, match=r'^Something is missing, which these install:\npip install it$'):
        repfusion.main()


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """The command of a wheel in an environment of its own, which has this one's libraries."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    command = ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split('\0')
    for name in filter(None, names):  # what a checkout has, without what builds leave in one
        if (ROOT / name).is_file() and not name.startswith(('tests/', 'docs/')):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check']
    build = [*pip, 'wheel', str(source), '--no-deps', '--no-build-isolation', '-w', str(folder)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob('*.whl')
    environment = folder / 'venv'
    venv.create(environment, with_pip=False, symlinks=True)
    libraries = next(environment.glob('lib/python*/site-packages'))
    (libraries / 'libraries.pth').write_text(sysconfig.get_path('purelib') + '\n')
    install = [
        *pip,
        '--python',
        str(environment / 'bin/python'),
        'install',
        '--no-deps',
        '--force-reinstall',
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    return wheel, environment


def test_a_wheel_carries_configs_commands_and_requirements(installed):
    wheel, _ = installed
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith('/METADATA'))
    for name in (
        'repfusion.py',
        'mmcls/apis/report/page.html.jinja',
        'mmcls/.mim/tools/train.py',
        'mmcls/.mim/segmentation/tools/dist_train.sh',
        'mmcls/.mim/classification_distill/configs/digits-hint/ddpm-r18_hint.py',
        'mmcls/.mim/landmark/configs/_base_/default_runtime.py',
    ):
        assert name in names
    assert 'Requires-Dist: diffusers<0.43,>=0.42.1' in metadata
    assert 'pytest' not in metadata


def test_an_installed_wheel_distils(installed, digits, pipeline_folder, tmp_path):
    _, environment = installed
    few = tmp_path / 'few'
    few.mkdir()
    for path in sorted((digits / 'images').rglob('*.png'))[::150]:
        (few / path.name).write_bytes(path.read_bytes())
    arguments = ['--teacher', pipeline_folder, '--student', 'resnet18_8xb16_cifar10', '--out', str(tmp_path / 'out')]
    command = [environment / 'bin/repfusion', 'distill', few, *arguments, '--epochs', '1', '--batch-size', '4']
    variables = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'} | {'OMP_NUM_THREADS': '1'}
    done = subprocess.run([*command, '--workers', '0'], cwd=tmp_path, capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert str(environment) in (tmp_path / 'out/distill.py').read_text()
    assert (tmp_path / 'out/student/student.onnx').is_file()
