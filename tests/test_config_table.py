import pytest
from mmcls.apis import config_table
from support import door


def test_the_tables_are_in_step_with_the_configs(monkeypatch):
    door('list_configs', '--check')
    lines = config_table.README.read_text().splitlines()
    configs = [path for tree in config_table.TREES for path in config_table.leaf_configs(tree)]
    assert configs
    for path in configs:
        link = f'{path.parent.name}/{path.stem}]('
        assert sum(f'[{link}' in line or f'/{link}' in line for line in lines) == 1, path


@pytest.fixture
def one_config(monkeypatch):
    paths = [config_table.ROOT / 'classification_distill/configs/cifar10-hint/ddpm-r18_hint.py']
    monkeypatch.setattr(config_table, 'leaf_configs', lambda tree: paths if tree == 'classification_distill' else [])


def test_a_config_that_comes_or_goes_fails_the_check(one_config, monkeypatch):
    with pytest.raises(SystemExit, match=r'run python tools/list_configs\.py'):
        door('list_configs', '--check')


def test_only_the_tables_are_written(one_config):
    text = config_table.with_tables(f'Above.\n{config_table.BEGIN}an old table\n{config_table.END}Below.\n')
    assert text.startswith(f'Above.\n{config_table.BEGIN}\n## classification_distill\n\n| config | teacher')
    assert text.endswith(f'|\n\n{config_table.END}Below.\n')
    assert 'an old table' not in text
    link = '[cifar10-hint/ddpm-r18_hint](cifar10-hint/ddpm-r18_hint.py)'
    parts = 'ResNet_CIFAR-18 | HintLoss(loss_weight=1.0) | ReinforcePolicy'
    assert text.count('\n| ') == 3
    assert f'\n| {link} | google/ddpm-cifar10-32 | {parts} | cifar10 | 128 | 200 epochs |\n' in text
