"""Features of the teacher that are kept: computed once, the same ever after, and never another run's."""

import json
import multiprocessing
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcls.datasets import FeatureCache
from mmcls.engine import dry_run
from mmcls.engine.launch import build_runner
from mmcls.engine.student_agreement import StudentAgreementHook
from mmcls.errors import UnusableInputError
from mmcls.weights import unwrap
from mmengine.config import Config
from mmengine.hooks import Hook
from support import ROOT

IMAGES, BATCH = 48, 16


def config(digits, pipeline_folder, work_dir, epochs=3, **model) -> Config:
    """Distillation of 48 digits in two views of each."""
    config = Config.fromfile(ROOT / 'classification_distill/configs/digits-hint/ddpm-r18_hint.py')
    config.model.teacher.pretrained = pipeline_folder
    config.model.backbone.update(base_channels=4, stem_channels=4)
    config.model.timestep_policy = {'type': 'FixedPolicy', 'timestep': 100}
    config.model.feature_cache = {'views': 2, 'folder': str(work_dir / 'cache')}
    config.train_dataloader.batch_size = BATCH
    config.train_dataloader.dataset.indices = IMAGES
    config.train_dataloader.dataset.dataset.data_root = str(digits)
    for name in ('val', 'test'):
        config.update({f'{name}_dataloader': None, f'{name}_cfg': None, f'{name}_evaluator': None})
    config.custom_hooks, config.visualizer.vis_backends = [], []
    config.train_cfg = {'by_epoch': True, 'max_epochs': epochs}
    config.default_hooks.checkpoint = {'type': 'SafeCheckpointHook', 'interval': 1}
    config.work_dir, config.launcher, config.log_level = str(work_dir), 'none', 'ERROR'
    config.experiment_name = f'{work_dir.name}_{os.getpid()}_{np.random.default_rng().integers(1 << 40)}'
    config.model.update(model)
    return config


def run(settings, *hooks):
    """Train; the weights of the student, and how many images the teacher was given."""
    runner = build_runner(settings, progress=False)
    for hook in hooks:
        runner.register_hook(hook)
    given = []
    network = unwrap(runner.model).teacher.network
    network.conv_in.register_forward_hook(lambda module, args, output: given.append(len(output)))
    try:
        runner.train()
    finally:
        runner.given = sum(given)
        runner.hits = runner.message_hub.log_scalars['train/cache_hits'].data[0].tolist()
    return runner


def weights(runner):
    return {name: value.clone() for name, value in runner.model.student.state_dict().items()}


def assert_same(first, second):
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_each_view_is_computed_once_and_never_again(digits, pipeline_folder, tmp_path):
    first = run(config(digits, pipeline_folder, tmp_path, epochs=12))
    assert first.given <= 2 * IMAGES
    assert first.given > 1.9 * IMAGES
    assert first.hits[:3] == [0, 0, 0]
    assert first.hits[-3:] == [1, 1, 1]
    again = run(config(digits, pipeline_folder, tmp_path, epochs=12))
    assert again.given == 2 * IMAGES - first.given
    assert_same(weights(first), weights(again))


def test_what_is_kept_is_what_the_teacher_says(digits, pipeline_folder, tmp_path):
    runner = run(config(digits, pipeline_folder, tmp_path, epochs=12))
    model, dataset = runner.model, runner.train_dataloader.dataset
    kept = np.load(tmp_path / 'cache/0.npy')
    filled = np.load(tmp_path / 'cache/filled.npy')
    assert kept.dtype == np.float16
    assert kept.shape[:3] == filled.shape == (IMAGES, 2, 1)
    seen = 0
    for _ in range(6):
        batch = model.data_preprocessor(dataset.__getitems__(list(range(IMAGES))), training=True)
        features = model.teacher(batch['inputs'], torch.full((IMAGES,), 100), pooled=True)
        (features,) = features.values()
        for feature, index, view in zip(features, range(IMAGES), batch['data_samples'].view.tolist(), strict=True):
            if filled[index, view, 0]:
                seen += 1
                expected = torch.from_numpy(kept[index, view, 0]).float()
                assert torch.allclose(feature, expected, rtol=2e-3, atol=1e-4)
    assert seen > 5 * IMAGES


class Kill(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 4:
            raise KeyboardInterrupt


def test_a_run_that_was_killed_goes_on_with_what_it_has(digits, pipeline_folder, tmp_path):
    whole = run(config(digits, pipeline_folder, tmp_path / 'whole'))
    with pytest.raises(KeyboardInterrupt):
        run(config(digits, pipeline_folder, tmp_path / 'killed'), Kill())
    filled = np.load(tmp_path / 'killed/cache/filled.npy').sum()
    settings = config(digits, pipeline_folder, tmp_path / 'killed')
    settings.resume, settings.load_from = True, str(tmp_path / 'killed/epoch_1.pth')
    resumed = run(settings)
    assert filled > IMAGES
    assert resumed.given + filled == np.load(tmp_path / 'killed/cache/filled.npy').sum()
    assert_same(weights(whole), weights(resumed))


@pytest.mark.parametrize(('change', 'named'), [
    ({'teacher.layers': ['mid_block.resnets.0.conv2']}, 'layers'),
    ({'teacher.noise': 'forward'}, 'noise'),
    ({'timestep_policy.timestep': 200}, 'timesteps'),
    ({'distill_loss.pooled': False}, 'averages'),
    ({'feature_cache.seed': 1}, 'seed'),
])  # fmt: skip
def test_features_of_another_training_are_refused(change, named, digits, pipeline_folder, tmp_path):
    run(config(digits, pipeline_folder, tmp_path, epochs=1))
    settings = config(digits, pipeline_folder, tmp_path, epochs=1)
    settings.merge_from_dict({f'model.{key}': value for key, value in change.items()})
    with pytest.raises(UnusableInputError, match=f'another training: .*{named}.* differ'):
        build_runner(settings, progress=False).train()


def test_other_weights_images_or_augmentations_are_refused(digits, pipeline_folder, tmp_path):
    run(config(digits, pipeline_folder, tmp_path, epochs=1))
    settings = config(digits, pipeline_folder, tmp_path, epochs=1)
    settings.data_preprocessor.augments = []
    with pytest.raises(UnusableInputError, match='augments differ'):
        build_runner(settings, progress=False).train()
    runner = build_runner(config(digits, pipeline_folder, tmp_path, epochs=1), progress=False)
    next(iter(runner.model.teacher.network.parameters())).data[0] += 1
    with pytest.raises(UnusableInputError, match='teacher_weights differ'):
        runner.train()
    settings = config(digits, pipeline_folder, tmp_path, epochs=1)
    settings.train_dataloader.dataset.dataset.ann_file = 'meta/val.txt'
    with pytest.raises(UnusableInputError, match='data differ'):
        build_runner(settings, progress=False).train()


def test_it_takes_data_whose_draws_are_known(digits, pipeline_folder, tmp_path):
    settings = config(digits, pipeline_folder, tmp_path)
    settings.data_preprocessor = {'mean': [127.5] * 3, 'std': [127.5] * 3, 'to_rgb': True}
    with pytest.raises(UnusableInputError, match='only BatchPreprocessor draws'):
        build_runner(settings, progress=False)
    settings = config(digits, pipeline_folder, tmp_path)
    settings.train_dataloader.dataset = settings.train_dataloader.dataset.dataset
    settings.train_dataloader.pop('collate_fn')
    with pytest.raises(UnusableInputError, match='CustomDataset draws on its own'):
        build_runner(settings, progress=False).train()


def test_its_size_is_told_and_limited(tmp_path):
    cache = FeatureCache(views=8, folder=str(tmp_path), limit=5)
    assert cache._size({'middle': (256, 1, 1)}, 50000, 20) == 50000 * 8 * 20 * 513
    with pytest.raises(UnusableInputError, match='191 GiB when full: 50,000 images x 8 views x 1000 timesteps'):
        cache._size({'middle': (256, 1, 1)}, 50000, 1000)
    with pytest.raises(UnusableInputError, match=r'views=0'):
        FeatureCache(views=0)


def test_files_have_holes_until_they_are_filled(tmp_path):
    cache = FeatureCache(views=8, folder=str(tmp_path))
    cache.open({'maps': (256, 4, 4)}, 1000, torch.arange(20), {})
    assert (tmp_path / '0.npy').stat().st_size > 2**30
    assert (tmp_path / '0.npy').stat().st_blocks * 512 < 2**20
    assert json.loads((tmp_path / 'origin.json').read_text())['views'] == 8


def test_features_beyond_float16_are_refused(tmp_path):
    cache = FeatureCache(views=1, folder=str(tmp_path))
    cache.open({'middle': (2, 1, 1)}, 4, torch.tensor([0]), {})
    zeros = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(UnusableInputError, match=r'A feature of 7e\+04 is beyond float16'):
        cache.read(torch.arange(2), zeros, zeros, lambda rows: [torch.full((len(rows), 2, 1, 1), 7e4)])
    assert not cache._filled.any()


def test_features_that_are_no_numbers_are_shown_and_not_kept(tmp_path):
    cache = FeatureCache(views=1, folder=str(tmp_path))
    cache.open({'middle': (2, 1, 1)}, 4, torch.tensor([0]), {})
    zeros = torch.zeros(2, dtype=torch.int64)
    computed = torch.tensor([[1.0, 2.0], [3.0, torch.nan]])[..., None, None]
    (features,), found = cache.read(torch.arange(2), zeros, zeros, lambda rows: [computed[rows]])
    assert features[0].flatten().tolist() == [1, 2]
    assert features[1].isnan().any()
    assert cache._filled.flatten().tolist() == [1, 0, 0, 0]
    assert found == 0


def _train_one_of_two(rank, port, digits, pipeline_folder, work_dir, queue):
    os.environ |= {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': '2', 'LOCAL_WORLD_SIZE': '2'}
    os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    settings = config(digits, pipeline_folder, work_dir, epochs=12)
    settings.launcher, settings.experiment_name = 'pytorch', 'two'
    settings.train_dataloader.batch_size = BATCH // 2
    runner = run(settings)
    queue.put((runner.given, runner.hits[-1]))
    torch.distributed.destroy_process_group()


def test_two_processes_fill_one_cache(digits, pipeline_folder, tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    arguments = (port, digits, pipeline_folder, tmp_path, queue)
    processes = [context.Process(target=_train_one_of_two, args=(rank, *arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    results = [queue.get() for _ in range(2)]
    # Two may meet at an entry, and then compute the same.
    assert 1.9 * IMAGES < sum(given for given, _ in results) <= 2.1 * IMAGES
    assert all(hits == 1 for _, hits in results)


def test_the_agreement_of_views_is_of_two_that_differ(digits, pipeline_folder, tmp_path):
    settings = config(digits, pipeline_folder, tmp_path)
    settings.model.feature_cache.views = 1
    runner = build_runner(settings, progress=False)
    first, second = StudentAgreementHook(num_images=IMAGES)._pair(runner, unwrap(runner.model))
    assert (first != second).flatten(1).any(1).float().mean() > 0.5
    assert unwrap(runner.model).data_preprocessor.num_views == 1


def test_a_dry_run_says_where_features_cannot_be_kept(digits, pipeline_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'access', lambda *_: False)  # which for root is never so
    with pytest.raises(UnusableInputError, match=f'feature_cache: {tmp_path} cannot be written to'):
        dry_run(config(digits, pipeline_folder, tmp_path))


def test_a_dry_run_says_how_large_it_gets_and_leaves_nothing(digits, pipeline_folder, tmp_path, capsys, monkeypatch):
    settings = config(digits, pipeline_folder, tmp_path)
    asked, usage = [], shutil.disk_usage
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: asked.append(Path(folder)) or usage(folder))
    dry_run(settings)
    features = [folder for folder in asked if folder.name.startswith(('dry_run_', '.dry_run_'))]
    assert {folder.parent for folder in features} == {tmp_path}  # the disk of the training, not that of /tmp
    assert f'up to {IMAGES * 2 * (1 + 2 * 16) / 2**30:.2g} GiB when full' in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_machines_keep_features_apart(digits, pipeline_folder, tmp_path, monkeypatch):
    monkeypatch.setattr('mmcls.engine.feature_cache.all_gather_object', lambda host: [host, 'another'])
    run(config(digits, pipeline_folder, tmp_path, epochs=1))
    assert [path.name for path in (tmp_path / 'cache').iterdir()] == [socket.gethostname()]
