import pytest
from mmcls.engine.launch import build_runner
from mmengine.config import Config


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    with pytest.raises(ValueError, match=r'4 processes were asked for, and torch finds 2 GPU'):
        build_runner(Config({'model': {'type': 'ImageClassifier'}, 'launcher': 'pytorch'}))
