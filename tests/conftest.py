import os
import shutil
from pathlib import Path

import mmcls  # noqa: F401
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from mmengine.registry import init_default_scope
from support import tiny_unet


def pytest_collection_modifyitems(items) -> None:
    """Last come those whose process has threads of autograd afterwards, so that no trainings can be forked from it."""
    items.sort(key=lambda item: item.path.name in ('test_classify.py', 'test_published_everywhere.py'))


@pytest.fixture(autouse=True)
def _fresh():
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    yield
    init_default_scope('mmpretrain')  # for the next module's own fixtures, which come before this one


@pytest.fixture(scope='session', autouse=True)
def _nothing_is_kept(tmp_path_factory):
    """Decoded images are not found from before, and do not stay."""
    os.environ['XDG_CACHE_HOME'] = str(tmp_path_factory.mktemp('cache'))


@pytest.fixture(scope='session')
def pipeline_folder(tmp_path_factory) -> str:
    """A real, tiny diffusers pipeline with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('pipeline')
    DDPMPipeline(tiny_unet(), DDPMScheduler()).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope='session')
def digits(tmp_path_factory) -> Path:
    from digits import write_digits

    folder = tmp_path_factory.mktemp('data') / 'digits'
    write_digits(folder)
    return folder


@pytest.fixture(scope='session')
def browser():
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    names = ('chromium', 'chromium-browser', 'google-chrome')
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f'none of {", ".join(names)} is installed')
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=['--no-sandbox'])
        yield browser
        browser.close()
