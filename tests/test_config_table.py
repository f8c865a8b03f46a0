import sys

import list_configs
import pytest


def check(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['list_configs.py', '--check'])
    list_configs.main()


def test_the_tables_are_in_step_with_the_configs(monkeypatch):
    check(monkeypatch)
    lines = list_configs.README.read_text().splitlines()
    configs = [path for tree in list_configs.TREES for path in list_configs.leaf_configs(tree)]
    assert configs
    for path in configs:
        link = f'{path.parent.name}/{path.stem}]('
        assert sum(f'[{link}' in line or f'/{link}' in line for line in lines) == 1, path


@pytest.fixture
def one_config(monkeypatch):
    paths = [list_configs.ROOT / 'classification_distill/configs/cifar10-hint/ddpm-r18_hint.py']
    monkeypatch.setattr(list_configs, 'leaf_configs', lambda tree: paths if tree == 'classification_distill' else [])


def test_a_config_that_comes_or_goes_fails_the_check(one_config, monkeypatch):
    with pytest.raises(SystemExit, match=r'run python tools/list_configs\.py'):
        check(monkeypatch)


def test_only_the_tables_are_written(one_config):
    text = list_configs.with_tables(f'Above.\n{list_configs.BEGIN}an old table\n{list_configs.END}Below.\n')
    assert text.startswith(f'Above.\n{list_configs.BEGIN}\n## classification_distill\n\n| config | teacher')
    assert text.endswith(f'|\n\n{list_configs.END}Below.\n')
    assert 'an old table' not in text
    link = '[cifar10-hint/ddpm-r18_hint](cifar10-hint/ddpm-r18_hint.py)'
    parts = 'ResNet_CIFAR-18 | HintLoss(loss_weight=1.0) | ReinforcePolicy'
    assert text.count('\n| ') == 3
    assert f'\n| {link} | google/ddpm-cifar10-32 | {parts} | cifar10 | 128 | 200 epochs |\n' in text
