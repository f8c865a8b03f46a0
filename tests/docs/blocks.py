"""The code blocks of a Markdown page, and how a test runs them.

A block of Python begins with a comment that names its file, ``# <path>`` or ``# <path>, further down``, and is written
there. Then the blocks of bash are run, in one shell that begins in the repository's root. A comment before a block,
which no reader sees, changes that: ``<!-- test: A => B; C => D -->`` replaces text, and
``<!-- test: not run, WHY -->`` leaves it out.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from support import ROOT

PAGES = [ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'data/README.md')] + sorted(ROOT.glob('docs/*.md'))
_MARK = re.compile(r'<!-- test: (.*?) -->', re.DOTALL)
_FILE = re.compile(r'# ([\w./-]+\.py)(, further down)?\n')


@dataclass
class Block:
    """A fenced block of a page.

    Attributes:
        line: Its first line in the page.
        language: ``'bash'``, ``'python'`` or ``'text'``, which is output.
        code: What the page says.
        not_run: Why a test cannot run it, else None.
        replacements: What a test puts in another's place.
    """

    line: int
    language: str
    code: str
    not_run: str | None = None
    replacements: list[tuple[str, str]] = field(default_factory=list)

    @property
    def runs(self) -> bool:
        return self.language != 'text' and self.not_run is None

    @property
    def code_of_test(self) -> str:
        code = self.code
        for old, new in self.replacements:
            assert old in code, f'line {self.line}: {old!r} is not in the block'
            code = code.replace(old, new)
        return code

    def write(self, folder: Path) -> None:
        """Write a block of Python to the file that it names."""
        match = _FILE.match(self.code)
        assert match, f'line {self.line}: the first line of a block of Python names its file'
        path = folder / match[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, 'a' if match[2] else 'w') as file:
            file.write(self.code_of_test)


def read_blocks(page: Path) -> list[Block]:
    blocks, mark = [], None
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == 'fence':
            blocks.append(_make_block(token, mark))
        mark = _MARK.fullmatch(token.content.strip()) if token.type == 'html_block' else None
    return blocks


def _make_block(token, mark: re.Match | None) -> Block:
    block = Block(token.map[0] + 1, token.info, token.content)
    if mark and mark[1].startswith('not run, '):
        block.not_run = mark[1].removeprefix('not run, ')
    elif mark:
        pairs = [pair.split(' => ') for pair in mark[1].split('; ')]
        block.replacements = [(old, new) for old, new in pairs]
    return block
