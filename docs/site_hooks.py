"""What the site needs beside its pages, made when it is built so that it works offline: formulas, colours of code."""

import re

from latex2mathml.converter import convert
from mkdocs.structure.files import File
from pygments.formatters import HtmlFormatter

FORMULA = re.compile(r'<(?:span|div) class="arithmatex">\\([(\[])(.+?)\\[)\]]</(?:span|div)>', re.DOTALL)
STYLES = {'[data-bs-theme=light] .highlight': 'default', '[data-bs-theme=dark] .highlight': 'github-dark'}


def on_page_content(html: str, **_) -> str:
    """Formulas as MathML, which browsers draw themselves."""
    return FORMULA.sub(lambda found: _formula(_plain(found[2]), in_line=found[1] == '('), html)


def _formula(latex: str, in_line: bool) -> str:
    return convert(latex, 'inline') if in_line else f'<div class="formula">{convert(latex, "block")}</div>'


def _plain(latex: str) -> str:
    for entity, sign in (('&lt;', '<'), ('&gt;', '>'), ('&amp;', '&')):
        latex = latex.replace(entity, sign)
    return latex


def on_files(files, config):
    rules = [HtmlFormatter(style=style).get_style_defs(where) for where, style in STYLES.items()]
    files.append(File.generated(config, 'highlight.css', content='\n'.join(rules)))
    return files
