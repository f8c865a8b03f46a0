"""What the commands of tools/ have in common: help, exit codes, no colours in a file."""

import argparse
import json
import subprocess
import sys

import pytest
import yaml
from processes import run_tool
from support import ROOT

SCRIPTS = [
    path.relative_to(ROOT / 'tools')
    for folder in ('tools', 'tools/prepare_data')
    for path in sorted((ROOT / folder).glob('*.py'))
    if "__name__ == '__main__'" in path.read_text()
]
LINES, COLUMNS = 40, 100  # of a screen


@pytest.mark.parametrize('script', SCRIPTS, ids=str)
def test_help_fits_a_screen_and_an_unknown_option_is_2(script, monkeypatch):
    monkeypatch.setenv('COLUMNS', str(COLUMNS))
    code, output = run_tool(script, '--help')
    assert code == 0, output
    text = output[output.index('usage:') :]
    assert len(text.splitlines()) <= LINES
    assert '\x1b' not in output
    code, output = run_tool(script, '--no-such-option')
    assert code == 2
    assert 'Traceback' not in output


@pytest.mark.parametrize('script', SCRIPTS, ids=str)
def test_help_names_the_defaults(script, monkeypatch):
    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', show_options)
    code, output = run_tool(script)
    assert code == 0, output
    for name, default, text in json.loads(output.splitlines()[-1]):
        assert default in text or 'by default' in text, f'{name}: {text!r} does not say that the default is {default}.'


def show_options(parser: argparse.ArgumentParser, *args) -> None:
    """Print the name, default and help of each option that has a default, also those of subcommands, and end."""
    options = []
    for action in parser._actions:
        for part in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
            options += show_options_of(part)
    print(json.dumps(options + show_options_of(parser)))
    sys.exit(0)


def show_options_of(parser: argparse.ArgumentParser) -> list[tuple[str, str, str]]:
    formatter = parser._get_formatter()
    return [
        (action.dest, str(action.default), formatter._expand_help(action) if action.help else '')
        for action in parser._actions
        if action.nargs != 0 and action.default not in (None, argparse.SUPPRESS, [], {}, ())
    ]


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_shell_scripts_without_arguments_say_how_they_are_used(script):
    result = subprocess.run(['bash', ROOT / 'tools' / script], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith('usage: ')


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert f'version = "{citation["version"]}"' in (ROOT / 'pyproject.toml').read_text()
    assert {'cff-version', 'message', 'title', 'authors', 'preferred-citation'} <= citation.keys()
    assert citation['license'] == 'Apache-2.0'
    assert (ROOT / 'LICENSE').read_text().split()[:4] == ['Apache', 'License', 'Version', '2.0,']
