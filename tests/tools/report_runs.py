"""Small real runs for the report: two seeds each of a distillation, of training from scratch and from the student."""

from pathlib import Path

from processes import run_tool
from support import ROOT

CONFIGS = ROOT / 'classification_distill/configs'
HOSTILE = '<img src=x onerror=alert(1)>'  # as the name of a class
SEEDS = (0, 1)


def write_runs(folder: Path, digits: Path, pipeline: str) -> None:
    """Train into ``folder``: ``<distill|scratch|distilled>_seed<0|1>``."""
    classes = f'classes = [{HOSTILE!r}, "$t$", *map(str, range(2, 10))]\n'
    data = ''.join(
        f'{split}_dataloader = dict(dataset=dict(dataset=dict(metainfo=dict(classes=classes))))\n'
        for split in ('train', 'val', 'test')
    )
    small = 'model = dict(backbone=dict(base_channels=4, stem_channels=4)'
    bases = {
        'distill': ('digits-hint/ddpm-r18_hint.py', f'{small}, teacher=dict(pretrained={pipeline!r}))\n'),
        'scratch': ('baseline/r18_b64_digits_finetune.py', f'{small}, head=dict(in_channels=32))\n'),
        'distilled': ('baseline/r18_b64_digits_finetune_repfusion.py', f'{small}, head=dict(in_channels=32))\n'),
    }
    lengths = {'distill': ['train_cfg.max_epochs=2', 'train_cfg.val_interval=1', 'custom_hooks.0.interval=2']}
    for name, (base, text) in bases.items():
        config = folder / f'{name}.py'
        config.write_text(f'_base_ = {str(CONFIGS / base)!r}\n{classes}{data}{text}')
        for seed in SEEDS:
            options = [
                f'data_root={digits}',
                f'randomness.seed={seed}',
                'default_hooks.logger.interval=1',
                'default_hooks.checkpoint.interval=1',
            ]
            options += ['train_dataloader.dataset.indices=192']
            options += lengths.get(name, ['train_cfg.max_iters=6', 'train_cfg.val_interval=2'])
            if name == 'distilled':
                options.append(f'model.backbone.init_cfg.checkpoint={folder}/distill_seed{seed}/epoch_2.pth')
            work_dir = folder / f'{name}_seed{seed}'
            code, output = run_tool('train.py', config, '--work-dir', work_dir, '--cfg-options', *options)
            assert code == 0, output[-3000:]
