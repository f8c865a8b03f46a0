"""The report of real runs: what it says, and in a real browser that it opens, shows curves and obeys the keyboard."""

import json
import re
import shutil
from html import unescape
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
import torch
from mmcls.apis.report.insight import look_into
from mmcls.apis.report.results import summarize
from mmcls.apis.report.runs import Group, Run, find_runs, group_runs
from mmpretrain.registry import MODELS
from PIL import Image
from processes import run_tool
from report_runs import HOSTILE, SEEDS, write_runs


@pytest.fixture(scope='module')
def runs(digits, pipeline_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('report')
    write_runs(folder, digits, pipeline_folder)
    return folder


@pytest.fixture(scope='module')
def report(runs) -> Path:
    code, output = run_tool('report.py', runs, '--out', runs / 'pages/report.html')
    assert code == 0, output[-3000:]
    assert re.search(r'report.html: 6 runs, \d.\d MB', output)
    return runs / 'pages/report.html'


@pytest.fixture(scope='module')
def text(report) -> str:
    return report.read_text()


def logged(work_dir: Path, key: str) -> list[float]:
    rows = map(json.loads, next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines())
    return [row[key] for row in rows if key in row]


def table(text: str, label: str) -> list[list[str]]:
    """The cells of the table that a region with this label holds."""
    region = text[text.index(f'aria-label="{label}"') :]
    rows = re.findall(r'<tr>(.*?)</tr>', region[: region.index('</table>')], re.DOTALL)
    return [
        [unescape(re.sub(r'<[^>]+>|\u200b', '', cell)) for cell in re.findall(r'<t[hd].*?</t[hd]>', row, re.DOTALL)]
        for row in rows
    ]


def test_seeds_are_together_with_their_deviation(runs, text):
    header, *rows = table(text, 'Results, Classification')
    results = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert set(results) == {'scratch', 'distilled'}
    for name, row in results.items():
        values = [logged(runs / f'{name}_seed{seed}', 'accuracy/top1')[-1] for seed in SEEDS]
        assert row['seeds'] == '2'
        assert row['accuracy/top1'] == f'{mean(values):.4g} ± {stdev(values):.2g}'
    assert results['scratch']['starts from'] == 'scratch'
    assert results['distilled']['starts from'] == 'distill_seed0/epoch_2.pth'


def test_losses_of_different_terms_are_not_compared(tmp_path):
    def group(name, **losses):
        run = Run(tmp_path / name, name)
        run.rows = [{'iter': 1, 'lr': 0.1, 'loss': 1.0, 'grad_norm': 1.0, **losses}]
        return Group(name, [run])

    same = [group('a', loss_hint=1.0), group('b', loss_hint=1.0)]
    assert summarize('s', same).columns == ['loss']
    assert summarize('s', same).note == ''
    found = summarize('s', [*same, group('c', loss_hint=0.5, loss_task=0.5)])
    assert found.columns == []
    assert 'not compared' in found.note


def test_of_the_configs_only_what_differs_is_side_by_side(text):
    header, *rows = table(text, 'Differences of the configs, Classification')
    assert header == ['setting', 'distilled', 'scratch']
    settings = {row[0]: row[1:] for row in rows}
    assert settings['model.backbone.init_cfg.prefix'] == ["'student.backbone.'", '']
    assert not any('seed' in key or 'depth' in key or 'work_dir' in key for key in settings)


def test_versions_and_commands(runs, text):
    versions = dict(row for row in table(text, 'Versions') if len(row) == 2)
    assert versions['PyTorch'] == torch.__version__
    assert (
        f'bash tools/dist_train.sh {runs}/scratch_seed0/scratch.py 1 --work-dir work_dirs/again/scratch_seed0' in text
    )


def test_the_policys_choices_are_those_of_the_checkpoint(runs, digits, text):
    (run,) = find_runs([runs / 'distill_seed0'])
    weights = torch.load(run.checkpoint, weights_only=False)['state_dict']
    policy = MODELS.build({'type': 'ReinforcePolicy', 'image_size': 8})
    prefix = 'timestep_policy.'
    policy.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    lines = (digits / 'meta/val.txt').read_text().splitlines()
    names = [lines[i].split()[0] for i in np.linspace(0, len(lines) - 1, 6).astype(int)]
    images = np.stack([np.asarray(Image.open(digits / 'images' / name).convert('RGB')) for name in names])
    inputs = torch.from_numpy(images).movedim(-1, 1) / 127.5 - 1
    chosen = policy.eval().sample(inputs).t.tolist()
    found = look_into(run)
    assert np.array_equal(found.images, images)
    assert [int(re.match(r't = (\d+) ', words)[1]) for words in found.choices] == chosen
    assert all(words in text for words in found.choices)

    labels = torch.tensor([int(line.split()[1]) for line in lines])
    assert found.by_class.shape == (10, 20)
    assert np.allclose(found.by_class.sum(1), 1, atol=1e-5)
    threes = [lines[i].split()[0] for i in (labels == 3).nonzero().flatten().tolist()]
    images = np.stack([np.asarray(Image.open(digits / 'images' / name).convert('RGB')) for name in threes])
    with torch.no_grad():
        shares = policy.distribution(torch.from_numpy(images).movedim(-1, 1) / 127.5 - 1).probs.mean(0)
    assert np.allclose(found.by_class[3], shares, atol=1e-4)


def test_teacher_and_student_are_seen(runs):
    (run,) = find_runs([runs / 'distill_seed0'])
    (columns,) = look_into(run).layers.values()
    assert list(columns) == [
        *(f'teacher, t\xa0=\xa0{t}' for t in (0, 160, 320, 480, 640, 800)),
        'student before',
        'student after',
    ]
    assert {pixels.shape for name, pixels in columns.items() if 'teacher' in name} == {(6, 4, 4, 3)}
    assert not np.array_equal(columns['student before'], columns['student after'])
    assert all(pixels.std() > 10 for pixels in columns.values())


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (lambda folder, config: [path.unlink() for path in folder.glob('*.pth')], 'There is no checkpoint in'),
        (lambda folder, config: config.replace("pretrained='/", "pretrained='/gone/"), 'neither a folder here nor'),
        (lambda folder, config: config.replace("data_root='/", "data_root='/gone/"), 'A data set is missing or empty'),
        (lambda folder, config: config.replace('base_channels=4', 'base_channels=8'), 'does not fit the model'),
        (lambda folder, config: config.replace("'mmcls'", "'mmcls', 'my_parts'"), 'Failed to import my_parts'),
    ],
    ids=['checkpoint', 'teacher', 'data', 'config', 'module'],
)  # fmt: skip
def test_what_is_missing_is_said_in_a_sentence(runs, tmp_path, change, sentence):
    folder = tmp_path / 'run'
    shutil.copytree(runs / 'distill_seed0', folder)
    path = next(folder.glob('*/vis_data/config.py'))
    changed = change(folder, path.read_text())
    if isinstance(changed, str):
        path.write_text(changed)
    assert sentence in look_into(Run(folder, 'run'))


def test_a_full_gpu_is_said_in_a_sentence(runs, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError('CUDA out of memory.')

    monkeypatch.setattr('mmcls.apis.report.insight.teacher_colors', full)
    (run,) = find_runs([runs / 'distill_seed0'])
    assert look_into(run) == 'CUDA out of memory.'


def test_runs_that_differ_only_in_the_seed_are_one_group(runs, tmp_path):
    for seed in SEEDS:
        shutil.copytree(runs / f'scratch_seed{seed}', tmp_path / 'abc'[seed])
    shutil.copytree(runs / 'distilled_seed0', tmp_path / 'c')
    assert [[run.name for run in group.runs] for group in group_runs(find_runs([tmp_path]))] == [['a', 'b'], ['c']]


@pytest.fixture
def open_page(browser, report):
    """Opens the report without a network; at the end, nothing may have gone wrong or been asked for."""
    contexts, complaints, requests = [], [], []

    def open_page(width: int = 1280, color_scheme: str = 'light'):
        viewport = {'width': width, 'height': 800}
        contexts.append(browser.new_context(viewport=viewport, color_scheme=color_scheme, offline=True))
        page = contexts[-1].new_page()
        page.on('console', lambda message: complaints.append(message.text))
        page.on('pageerror', lambda error: complaints.append(str(error)))
        page.on('dialog', lambda dialog: complaints.append(dialog.message))
        page.on('request', lambda request: requests.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert {url for url in requests if not url.startswith('data:')} == {report.as_uri()}


def section(page, title: str):
    return page.locator('section', has=page.get_by_role('heading', name=title, exact=True))


def figure(within, caption: str):
    return within.locator('figure', has=within.page.locator(f'figcaption:text-is("{caption}")'))


def test_the_curves_are_there(open_page):
    page = open_page()
    expected = {
        'Distillation': {'loss', 'reward', 'policy_entropy', 'timestep_mean', 'accuracy/top1'},
        'Classification': {'loss', 'accuracy/top1'},
    }
    for title, names in expected.items():
        part = section(page, title)
        lines = {'Distillation': ['g0'], 'Classification': ['g0', 'g1']}[title]  # scratch and distilled together
        for name in names:
            for line in lines:
                box = figure(part, name).locator(f'[id$="line-{line}"] path').bounding_box()
                assert box['width'] > 100, (title, name)
                assert figure(part, name).locator(f'[id$="band-{line}"]').count() == 1  # of two seeds
    assert figure(section(page, 'Distillation'), 'Through training').locator('image').count() >= 1


def test_the_controls_obey_the_keyboard(open_page):
    page = open_page()
    part = section(page, 'Classification')
    lines = {g: part.locator(f'.curves [id$="line-{g}"] path').first for g in ('g0', 'g1')}
    box = part.get_by_label('scratch', exact=True)
    box.focus()
    page.keyboard.press('Space')
    assert lines['g0'].is_visible()
    assert not lines['g1'].is_visible()
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.textContent') == 'All'
    page.keyboard.press('Enter')
    assert lines['g1'].is_visible()
    part.get_by_role('button', name='None').press('Enter')
    assert not lines['g0'].is_visible()
    assert figure(section(page, 'Distillation'), 'loss').locator('[id$="line-g0"] path').is_visible()

    config = part.locator('details', has_text='Whole config of scratch_seed0')
    assert not config.locator('pre').is_visible()
    config.locator('summary').press('Enter')
    assert 'train_dataloader = dict(' in config.locator('pre').inner_text()


def test_a_phone_at_night(open_page, tmp_path):
    page = open_page(width=360, color_scheme='dark')
    assert page.evaluate('document.documentElement.scrollWidth') == 360  # tables scroll by themselves
    ground, ink, label = page.evaluate("""() => [
        getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.body).color,
        getComputedStyle(document.querySelector('svg text')).fill,
    ]""")
    assert max(map(int, re.findall(r'\d+', ground))) < 50
    assert min(map(int, re.findall(r'\d+', ink))) > 200
    assert label == ink
    heights = page.evaluate("[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)")
    assert min(height for height in heights if height) > 9  # pixels
    page.screenshot(path=tmp_path / 'phone.png', full_page=True)
    assert len(Image.open(tmp_path / 'phone.png').convert('RGB').getcolors(10**6)) > 500


def test_what_users_wrote_is_text(open_page):
    page = open_page()
    shown = figure(section(page, 'Distillation'), 'By class, at the end').locator('svg text').all_text_contents()
    assert HOSTILE in shown
    assert '$t$' in shown
    assert page.locator('img[src="x"]').count() == 0
