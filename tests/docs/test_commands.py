"""Commands that the pages name, those within a sentence too: the script is there, and has the options."""

import functools
import re

import pytest
from docs.blocks import PAGES
from markdown_it import MarkdownIt
from processes import run_tool
from support import ROOT

COMMAND = re.compile(r'tools/([\w/-]+\.(?:py|sh))([^`\n;&|]*)')
PROGRAMS = {
    'dist_train.sh': 'train.py',
    'slurm_train.sh': 'train.py',
    'sbatch_train.sh': 'train.py',
    'dist_test.sh': 'test.py',
    'slurm_test.sh': 'test.py',
    'transfer.sh': 'transfer.py',
    'demo.sh': 'demo.py',
}
HAVE_SUBCOMMANDS = ('benchmark.py',)


def commands() -> set[tuple[str, str, str]]:
    """Each script that a page names, its subcommand, and each option that follows it on the line."""
    found = set()
    for page in PAGES:
        for token in MarkdownIt().enable('table').parse(page.read_text()):
            codes = [token.content] if token.type == 'fence' else []
            codes += [child.content for child in token.children or () if child.type == 'code_inline']
            for script, rest in COMMAND.findall('\n'.join(codes).replace('\\\n', '').replace('    #', '\n')):
                subcommand = rest.split()[0] if script in HAVE_SUBCOMMANDS and rest.strip() else ''
                options = ['', *re.findall(r'(?<![\w-])--[a-z-]+', rest)]
                found |= {(script, subcommand, option) for option in options}
    return found


@functools.cache
def help_of(*command: str) -> str:
    code, text = run_tool(*command, '--help')
    assert code == 0, text
    return text


@pytest.mark.parametrize(('script', 'subcommand', 'option'), sorted(commands()))
def test_a_command_is_as_the_pages_write_it(script, subcommand, option):
    assert (ROOT / 'tools' / script).is_file()
    if option or subcommand:
        program = PROGRAMS.get(script, script)
        help_text = help_of(program, *([subcommand] if subcommand else []))
        assert re.search(rf'{option}(?![\w-])', help_text), help_text
