"""tools/install.sh on a Python that is too old, and that all places name the versions that the libraries ask for."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from support import ROOT

# Runs what install.sh asks of an interpreter as one of that version would, and nothing else.
FAKE = """#!/bin/sh
case $1 in
-V) echo "Python {version}" ;;
-c) exec {real} -c 'import sys; sys.version_info = ({numbers}, "final", 0); exec(sys.argv.pop(1))' "$2" ;;
*) exit 99 ;;
esac
"""
# pyenv's other versions lie beside this one; elsewhere one is on the path.
BESIDE = sorted(Path(sys.base_prefix).parent.glob('3.10.*/bin/python3.10'))
OLDER = [*map(str, BESIDE), *filter(None, [shutil.which('python3.10')])]


def write_python(path: Path, version: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FAKE.format(version=version, real=sys.executable, numbers=version.replace('.', ', ')))
    path.chmod(0o755)


def install(tmp_path, **variables) -> subprocess.CompletedProcess:
    """Run install.sh with the interpreters of ``tmp_path / 'bin'`` before all others."""
    environment = {key: value for key, value in os.environ.items() if key not in ('BASE_PYTHON', 'VIRTUAL_ENV')}
    environment |= {'PATH': f'{tmp_path / "bin"}:{os.environ["PATH"]}', 'VENV': str(tmp_path / 'venv')} | variables
    command = ['bash', str(ROOT / 'tools/install.sh')]
    return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)


@pytest.mark.parametrize(('name', 'variables'), [
    ('python3', {}),
    ('python3.10', {'BASE_PYTHON': 'python3.10'}),
])  # fmt: skip
def test_an_older_python(tmp_path, name, variables):
    write_python(tmp_path / 'bin' / name, '3.10.14')
    done = install(tmp_path, **variables)
    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr == (
        f'install.sh: {tmp_path / "bin" / name} is Python 3.10.14, and RepFusion needs Python 3.11 or newer. Name one '
        'in BASE_PYTHON, e.g. BASE_PYTHON=python3.12.\n'
    )
    assert not (tmp_path / 'venv').exists()


@pytest.mark.skipif(not OLDER, reason='there is no Python 3.10')
def test_a_real_older_python(tmp_path):
    done = install(tmp_path, BASE_PYTHON=OLDER[0])
    assert done.returncode == 1
    assert re.fullmatch(rf'install.sh: {OLDER[0]} is Python 3\.10\.\d+, and .* 3\.11 or newer.*\n', done.stderr)
    assert not any(tmp_path.iterdir())


def test_a_python_that_is_not_there(tmp_path):
    done = install(tmp_path, BASE_PYTHON='python3.99')
    assert done.returncode == 1
    assert done.stderr.startswith('install.sh: python3.99 was not found. Install Python 3.11 or newer')
    assert not any(tmp_path.iterdir())


def test_an_environment_of_an_older_python(tmp_path):
    write_python(tmp_path / 'bin/python3', '3.11.9')
    write_python(tmp_path / 'venv/bin/python', '3.10.14')
    done = install(tmp_path)
    assert done.returncode == 1
    assert f'{tmp_path / "venv"} is an environment of Python 3.10.14, and' in done.stderr
    assert [path.name for path in (tmp_path / 'venv').rglob('*')] == ['bin', 'python']


def test_a_python_that_is_new_enough_is_taken(tmp_path):
    write_python(tmp_path / 'bin/python3', '3.11.0')
    done = install(tmp_path)
    assert done.returncode != 0  # the fake makes no environment
    assert 'RepFusion needs Python' not in done.stderr


@pytest.mark.parametrize('variables', [{}, {'VENV': 'venv', 'CDPATH': '.:/'}])
def test_another_package_of_the_same_name_is_told_apart(tmp_path, variables):
    write_python(tmp_path / 'bin/python3', '3.11.9')
    write_python(tmp_path / 'venv/bin/python', '3.11.9')
    python = tmp_path / 'venv/bin/python'
    python.write_text(python.read_text().replace('*) exit 99', '*) exit 0'))  # pip has nothing to do
    other = tmp_path / 'old/mmcls/__init__.py'  # MMClassification 0.x
    other.parent.mkdir(parents=True)
    other.touch()
    done = install(tmp_path, PYTHONPATH=str(tmp_path / 'old'), **variables)
    assert done.returncode == 1
    assert f'install.sh: the package mmcls in {tmp_path / "venv"} is {other}, ' in done.stderr
    assert f'{python} -m pip uninstall mmcls' in done.stderr
    assert not (tmp_path / 'venv/repfusion.stamp').exists()


def test_all_places_name_the_same_versions():
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())
    python = project['project']['requires-python'].removeprefix('>=')
    assert project['tool']['ruff']['target-version'] == f'py{python.replace(".", "")}'
    assert f'Python {python} or newer' in (ROOT / 'README.md').read_text()
    script = (ROOT / 'tools/install.sh').read_text()
    assert set(re.findall(r'Python (3\.\d+) or newer', script)) == {python}
    assert f'({python.replace(".", ", ")})' in script

    text = ''.join(path.read_text() for path in (ROOT / 'requirements').iterdir())
    lines = [line.partition('#')[0].strip() for line in text.splitlines()]
    requirements = {r.name: r for r in map(Requirement, filter(None, lines))}
    for requirement in requirements.values():
        if requirement.specifier:  # of the others pip takes the newest that this Python can have
            needed = Requirement(f'python{distribution(requirement.name).metadata["Requires-Python"] or ""}').specifier
            assert Version(f'{python}.0') in needed, requirement
    lowest = min(Version(s.version) for s in requirements['torch'].specifier if s.operator == '>=')
    asked = [Requirement(line) for line in distribution('diffusers').requires]
    assert all(lowest in r.specifier for r in asked if r.name == 'torch')
