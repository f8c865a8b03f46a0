"""The documentation as a site, and the links of the pages outside of it."""

import re
import subprocess
import sys

import pytest
from docs.blocks import PAGES
from support import ROOT

OUTSIDE = [page for page in PAGES if page.parent != ROOT / 'docs']
IN_THE_API = ('RepFusion', 'DiTTeacher', 'ReinforcePolicy', 'CRDLoss', 'HeatmapHead', 'FiniteLossHook', 'WFLWMetric')


def test_the_site_is_built_without_warnings(tmp_path):
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', tmp_path / 'site']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    api = (tmp_path / 'site/api/index.html').read_text()
    for name in IN_THE_API:
        assert re.search(rf'id="mmcls\.[\w.]+\.{name}"', api), f'{name} is not in the API'


@pytest.mark.parametrize('page', OUTSIDE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r'\]\(([^)#]+)(?:#([^)]+))?\)', page.read_text())
    for target, anchor in links:
        if target.startswith('http'):
            continue
        path = page.parent / target
        assert path.exists(), target
        if anchor:
            headings = re.findall(r'^#+ (.+)$', path.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r'[^\w -]', '', heading).lower().replace(' ', '-') for heading in headings]
