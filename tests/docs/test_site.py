"""The documentation as a site, and the links of the pages outside of it."""

import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from docs.blocks import PAGES
from support import ROOT

OUTSIDE = [page for page in PAGES if page.parent != ROOT / 'docs']
IN_THE_API = {
    'RepFusion': 'classifiers',
    'DiTTeacher': 'teachers',
    'ReinforcePolicy': 'timestep_policies',
    'CRDLoss': 'losses',
    'HeatmapHead': 'task_heads',
    'FiniteLossHook': 'engine',
    'WFLWMetric': 'evaluation',
}


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_the_api_has_a_page_a_module(site):
    pages = {page.parent.name: page.read_text() for page in site.glob('api/*/index.html')}
    for name, page in IN_THE_API.items():
        assert re.search(rf'id="mmcls\.[\w.]+\.{name}"', pages[page]), f'{name} is not in the API'
        assert f'class="nav-link">{name}<' in pages[page], f'{name} is not in the sidebar'


def test_pages_fit_a_phone_and_need_no_network(site, browser):
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(_Quiet, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    address, problems = f'http://127.0.0.1:{server.server_port}/', []
    page = browser.new_page(viewport={'width': 390, 'height': 800})
    page.on('request', lambda request: problems.append(request.url) if not request.url.startswith(address) else None)
    page.on('console', lambda message: problems.append(message.text) if message.type == 'error' else None)
    for path in site.rglob('index.html'):
        page.goto(f'{address}{path.parent.relative_to(site)}/')
        assert page.evaluate('document.documentElement.scrollWidth') <= 390, path
    assert problems == []
    page.goto(f'{address}method/')
    assert page.locator('math').count() > 5
    page.close()
    server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        """The tests' output is not a server's log."""


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
