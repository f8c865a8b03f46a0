"""The table of all trees' configs in classification_distill/configs/README.md, from the loaded configs."""

import os
from pathlib import Path

from mmengine.config import Config

from ..configs import ROOT
from ..errors import UnusableInputError

TREES = ('classification_distill', 'segmentation', 'landmark')
README = ROOT / 'classification_distill/configs/README.md'
BEGIN, END = '<!-- table: python tools/list_configs.py -->\n', '<!-- end -->\n'
COLUMNS = ('config', 'teacher, or start', 'student', 'loss', 'policy', 'data set', 'batch a GPU', 'length')


def leaf_configs(tree: str) -> list[Path]:
    """The configs of a tree that can be run."""
    return sorted(path for path in (ROOT / tree / 'configs').rglob('*.py') if '_base_' not in path.parts)


def with_tables(text: str) -> str:
    """The README's text with the tables of the configs as they are now."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    tables = [f'\n## {tree}\n\n{table(tree)}\n' for tree in TREES if leaf_configs(tree)]
    return before + BEGIN + ''.join(tables) + END + after


def table(tree: str) -> str:
    """The Markdown table of a tree's configs."""
    rows = [COLUMNS, ('---',) * len(COLUMNS), *map(row, leaf_configs(tree))]
    return ''.join(f'| {" | ".join(cells)} |\n' for cells in rows)


def row(path: Path) -> tuple[str, ...]:
    """The cells of one config."""
    config = Config.fromfile(path)
    model, train = config.model, config.train_cfg
    name = path.relative_to(ROOT / path.relative_to(ROOT).parts[0] / 'configs').with_suffix('')
    return (
        f'[{name}]({os.path.relpath(path, README.parent)})',
        _teacher(config),
        _network(model.backbone) if 'backbone' in model else model.type,
        _call(model.get('distill_loss')),
        _call(model.get('timestep_policy')),
        _data_root(config.train_dataloader.dataset).removeprefix('data/'),
        str(config.train_dataloader.batch_size),
        f'{train.max_epochs} epochs' if 'max_epochs' in train else f'{train.max_iters} iterations',
    )


def _teacher(config: Config) -> str:
    teacher = config.model.get('teacher', {})
    source = config.get('distilled') or teacher.get('pretrained') or teacher.get('checkpoint') or ''
    if 'work_dirs/' in source:  # of a run here: the run's name
        return Path(source.partition('work_dirs/')[2]).parent.as_posix()
    return source.removeprefix('data/teachers/')


def _network(backbone: dict) -> str:
    """The backbone's type and size; BiSeNet's is one further in."""
    backbone = backbone.get('backbone_cfg', backbone)
    sizes = [str(backbone[key]) for key in ('depth', 'arch', 'width_factor') if key in backbone]
    return '-'.join([backbone['type'], *sizes])


def _call(part: dict | list[dict] | None) -> str:
    if part is None:
        return ''
    if isinstance(part, list):
        return ', '.join(map(_call, part))
    settings = [f'{key}={value}' for key, value in part.items() if key != 'type']
    return f'{part["type"]}({", ".join(settings)})' if settings else part['type']


def _data_root(dataset: dict) -> str:
    return dataset['data_root'] if 'data_root' in dataset else _data_root(dataset['dataset'])


def update(check: bool = False) -> None:
    """Bring the README up to date, or only look whether it is.

    Raises:
        UnusableInputError: With ``check``, when it is not.
    """
    text = README.read_text()
    updated = with_tables(text)
    if not check:
        README.write_text(updated)
    elif updated != text:
        raise UnusableInputError(f'{README} does not match the configs: run python tools/list_configs.py.')
