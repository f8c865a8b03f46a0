"""The messages that the troubleshooting page lists are those that the code gives."""

import ast
import re
from itertools import chain

import pytest
from markdown_it import MarkdownIt
from support import ROOT

TREES = ('tools', 'classification_distill/mmcls')
# Of Python, of torch, and of libraries while they are imported.
OF_OTHERS = {
    "ModuleNotFoundError: No module named 'mmcls'",
    'EADDRINUSE',
    'address already in use',
    'CUDA out of memory',
    'got an unexpected keyword argument',
    'Expected to have finished reduction in the prior iteration',
}


def messages() -> list[str]:
    """What is code in the first column of the page's tables of messages."""
    page = (ROOT / 'docs/troubleshooting.md').read_text().partition('## It runs, and learns nothing')[0]
    tokens = MarkdownIt().enable('table').parse(page)
    cells = [tokens[i + 2] for i, token in enumerate(tokens) if token.type == 'tr_open']
    return [part.content for cell in cells for part in cell.children or () if part.type == 'code_inline']


def texts() -> list[str]:
    """Every string of the code, with what is put into it replaced by ``...``."""
    found = []
    for path in chain.from_iterable((ROOT / tree).rglob('*.py') for tree in TREES):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else '...' for part in node.values)
                found.append(''.join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found + [path.read_text() for path in (ROOT / 'tools').glob('*.sh')]


@pytest.fixture(scope='module')
def code() -> list[str]:
    return texts()


def test_messages_of_others_are_on_the_page():
    assert set(messages()) >= OF_OTHERS


@pytest.mark.parametrize('message', [message for message in messages() if message not in OF_OTHERS])
def test_a_message_is_one_of_the_code(message, code):
    pattern = re.compile('.*'.join(map(re.escape, message.split('...'))), re.DOTALL)
    assert any(pattern.search(text) for text in code), message
