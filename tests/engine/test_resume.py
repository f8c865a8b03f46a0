"""What a run starts from."""

from pathlib import Path

import torch
from mmcls.engine.checkpoints import resolve_checkpoint
from mmcls.engine.launch import prepare_config


def settled(work_dir: Path, resume: str | None) -> tuple[bool, str]:
    """``resume`` and ``load_from`` for a config that names weights to start from."""
    path = work_dir / 'config.py'
    path.write_text(f'resume = False\nload_from = {str(work_dir / "weights.pth")!r}\n')
    config = prepare_config(str(path), {}, str(work_dir), resume=resume)
    resolve_checkpoint(config)
    return config.resume, Path(config.load_from).name


def test_weights_to_start_from_are_used_until_there_is_a_checkpoint_to_go_on_from(tmp_path):
    torch.save({}, tmp_path / 'weights.pth')
    assert settled(tmp_path, resume=None) == settled(tmp_path, resume='auto') == (False, 'weights.pth')
    torch.save({}, tmp_path / 'epoch_1.pth')
    assert settled(tmp_path, resume=None) == (False, 'weights.pth')
    assert settled(tmp_path, resume='auto') == (True, 'epoch_1.pth')
    torch.save({}, tmp_path / 'epoch_2.pth')
    assert settled(tmp_path, resume=str(tmp_path / 'epoch_1.pth')) == (True, 'epoch_1.pth')
