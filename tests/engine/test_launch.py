import copy
import json
from contextlib import nullcontext

import pytest
import torch
from mmcls.configs import load_config
from mmcls.engine import launch
from mmcls.engine.launch import build_runner, draw_predictions, limit_workers
from mmcls.engine.terminal import WatchedRunner
from mmengine.config import Config
from rich.console import Console
from support import ROOT
from torch import nn
from yapf.yapflib import yapf_api


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    with pytest.raises(ValueError, match=r'4 processes were asked for, and torch finds 2 GPU'):
        build_runner(Config({'model': {'type': 'ImageClassifier'}, 'launcher': 'pytorch'}))


def test_on_cpus_the_configs_own_model_wrapper_is_kept(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setattr('torch.distributed.init_process_group', lambda backend: None)
    monkeypatch.setattr('mmcls.engine.launch.Runner.from_cfg', lambda config: config)
    wrapper = {'type': 'MMSeparateDistributedDataParallel', 'find_unused_parameters': True}
    config = {'model': {'type': 'ImageClassifier'}, 'launcher': 'pytorch', 'model_wrapper_cfg': wrapper}
    built = build_runner(Config(config)).model_wrapper_cfg
    assert built == wrapper | {'device_ids': None, 'broadcast_buffers': False}


@pytest.mark.parametrize('config', [{'default_scope': 'mmengine'}, {}])
def test_predictions_of_another_library_are_not_drawn(config):
    with pytest.raises(
        ValueError, match=f'default_scope={config.get("default_scope")!r}; mmpretrain, mmseg, mmpose can'
    ):
        draw_predictions(Config(config), 'shown')


def test_a_config_without_hooks_gets_the_one_that_draws(tmp_path):
    config = Config({'default_scope': 'mmpretrain'})
    draw_predictions(config, str(tmp_path))
    assert config.default_hooks.visualization.out_dir == str(tmp_path)


@pytest.mark.parametrize(('cores', 'processes', 'expected'), [(8, 1, 4), (2, 1, 2), (8, 4, 2), (1, 2, 1)])
def test_data_workers_are_no_more_than_cores(monkeypatch, cores, processes, expected):
    monkeypatch.setattr('os.sched_getaffinity', lambda pid: set(range(cores)))
    monkeypatch.setenv('LOCAL_WORLD_SIZE', str(processes))
    loaders = {'train_dataloader': {'num_workers': 4}, 'val_dataloader': {'num_workers': 0}, 'test_dataloader': None}
    limit_workers(config := Config(loaders))
    assert config.train_dataloader.num_workers == expected
    assert config.val_dataloader.num_workers == 0


def test_a_config_is_laid_out_once_until_it_changes(monkeypatch):
    path = ROOT / 'classification_distill/configs/baseline/r18_b64_digits_finetune.py'
    as_mmengine_does = Config.fromfile(path).pretty_text
    laid_out, format_code = [], yapf_api.FormatCode
    monkeypatch.setattr(yapf_api, 'FormatCode', lambda *args, **how: laid_out.append(1) or format_code(*args, **how))
    config = load_config(path)
    assert config.pretty_text == config.dump() == copy.deepcopy(config).pretty_text == as_mmengine_does
    assert len(laid_out) == 1
    config.model.head.num_classes = 3
    assert 'num_classes=3' in config.pretty_text
    assert len(laid_out) == 2


def test_metrics_that_are_no_single_numbers_are_printed_and_written(tmp_path, monkeypatch, capsys):
    metrics = {'accuracy': 50.0, 'precision': [40.0, 60.0], 'matrix': torch.eye(2)}
    monkeypatch.setattr('mmengine.runner.Runner.test', lambda runner: metrics)
    monkeypatch.setattr(WatchedRunner, '_say_what', lambda *_: None)
    runner = object.__new__(WatchedRunner)
    runner.model, runner.console, runner.line = nn.Module(), Console(), nullcontext()
    monkeypatch.setattr(launch, 'build_runner', lambda config: runner)
    monkeypatch.setattr(launch, 'check_data', lambda *_: None)
    monkeypatch.setattr(launch, 'check_checkpoint', lambda *_: None)
    (tmp_path / 'weights.pth').touch()
    launch.evaluate(Config({'load_from': str(tmp_path / 'weights.pth')}), str(tmp_path / 'metrics.json'))
    assert 'accuracy: 50.0000' in capsys.readouterr().out
    written = json.loads((tmp_path / 'metrics.json').read_text())
    assert written == {'accuracy': 50.0, 'precision': [40.0, 60.0], 'matrix': [[1.0, 0.0], [0.0, 1.0]]}


def test_processes_that_find_other_checkpoints_are_refused(monkeypatch):
    config = Config({'work_dir': 'work', 'resume': True, 'load_from': 'work/epoch_3.pth'})
    launch._agree_where_to_start(config)
    monkeypatch.setattr(launch, 'all_gather_object', lambda start: [start, 'the beginning'])
    with pytest.raises(ValueError, match=r'would start from epoch_3.pth, the beginning.*work must be a folder'):
        launch._agree_where_to_start(config)


def test_none_leaves_a_hook_of_every_run_out():
    config = Config({'default_hooks': {'interruption': None, 'finite_loss': {'max_skipped': 2}}})
    launch.add_run_hooks(config)
    assert config.default_hooks.keys() == launch.RUN_HOOKS.keys() - {'interruption'}
    assert config.default_hooks.finite_loss == {'max_skipped': 2, 'type': 'mmpretrain.FiniteLossHook'}
