"""A distillation of two iterations by a policy that learns, the second of them resumed."""

from pathlib import Path

import torch
from mmcls.engine import prepare_config, train

CONFIG = 'configs/digits-hint/ddpm-r18_hint.py'
TRAINED = {'student', 'timestep_policy', 'task_head', 'connectors', 'standardizers'}


def changed_by_a_resumed_step(teacher: dict, digits: Path, work_dir: Path) -> set[str]:
    """Parts of the model, by their first name, of which the second iteration changed something."""
    first, second = (_distil(teacher, digits, work_dir, iterations) for iterations in (1, 2))
    return {key.partition('.')[0] for key, value in second.items() if not torch.equal(value, first[key])}


def _distil(teacher: dict, digits: Path, work_dir: Path, iterations: int) -> dict:
    config = prepare_config(CONFIG, {'data_root': str(digits)}, work_dir=str(work_dir), resume='auto')
    config.model.teacher = teacher
    config.model.backbone.update(base_channels=4, stem_channels=4)
    config.model.image_size = 32
    config.train_dataloader.update(batch_size=4)
    config.train_dataloader.dataset.indices = 4 * iterations
    config.train_cfg = {'by_epoch': False, 'max_iters': iterations}
    config.default_hooks.checkpoint = {'type': 'SafeCheckpointHook', 'by_epoch': False, 'interval': 1}
    config.custom_hooks = []
    for key in ('val_dataloader', 'val_evaluator', 'val_cfg', 'test_dataloader', 'test_evaluator', 'test_cfg'):
        config[key] = None
    train(config)
    return torch.load(work_dir / f'iter_{iterations}.pth', weights_only=False)['state_dict']
