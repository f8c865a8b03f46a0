"""A resumed run sees each image as often as one that was never stopped, and the config's own functions are kept."""

from collections import Counter
from typing import ClassVar

import pytest
import torch
from mmcls.engine.repeatable import EpochPositionHook, IterationSeedHook
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS
from small_runner import small_runner
from torch.utils.data import BatchSampler, get_worker_info


class Watch(Hook):
    """Keeps the images of each iteration, and stops after some."""

    def __init__(self, stop_after=None):
        self.seen = []
        self.stop_after = stop_after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen += [int(image) for image in data_batch['inputs']]
        if runner.iter + 1 == self.stop_after:
            raise KeyboardInterrupt


def train(work_dir, stop_after=None, **settings):
    watch = Watch(stop_after)
    runner = small_runner(work_dir, custom_hooks=[EpochPositionHook(), watch], **settings)
    try:
        runner.train()
    except KeyboardInterrupt:
        runner.save_checkpoint(str(work_dir), 'stopped.pth', meta={'epoch': runner.epoch, 'iter': stop_after})
    return watch.seen


class Draws(torch.utils.data.Dataset):
    """Each image is a random number."""

    metainfo: ClassVar[dict] = {}

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return {'inputs': torch.randint(10**9, (1,))}


@pytest.mark.parametrize('images_a_batch', [2, 8])  # five batches for two workers, or two
def test_workers_that_outlive_an_epoch_draw_as_others_do(tmp_path, images_a_batch):
    def draws(persistent, stop_after=None, workers=3, **settings):
        train_settings = {
            'dataset': Draws(),
            'batch_size': images_a_batch,
            'num_workers': workers,
            'persistent_workers': persistent,
        }
        watch = Watch(stop_after)
        hooks = [EpochPositionHook(), IterationSeedHook(), watch]
        more = {'randomness': {'seed': 3}} | settings
        runner = small_runner(tmp_path, epochs=3, custom_hooks=hooks, train=train_settings, **more)
        try:
            runner.train()
        except KeyboardInterrupt:
            runner.save_checkpoint(str(tmp_path), 'stopped.pth', meta={'epoch': runner.epoch, 'iter': stop_after})
        runner.train_dataloader._iterator = None  # ends its workers; where they go with the runner, each takes 5 s
        return watch.seen

    whole = draws(False)
    assert len(set(whole)) == 30
    assert draws(True) == whole
    assert draws(False, workers=0) == whole
    for persistent, workers in ((True, 3), (False, 0)):
        begun = draws(persistent, stop_after=3, workers=workers)
        stopped = {'load_from': str(tmp_path / 'stopped.pth'), 'resume': True}
        assert begun + draws(persistent, workers=workers, **stopped) == whole


class Pairs:
    """A batch sampler of one's own, which draws without a sampler."""

    def __init__(self, sampler, batch_size):
        self.batch_size = batch_size

    def __iter__(self):
        return iter([[0, 1], [2, 3]])

    def __len__(self):
        return 2


def test_batches_that_no_sampler_draws_are_saved_and_resumed(tmp_path):
    settings = {'train': {'batch_sampler': {'type': Pairs}}, 'train_cfg': {'by_epoch': False, 'max_iters': 2}}
    settings['default_hooks'] = {'sampler_seed': None}  # which asks for a sampler
    assert train(tmp_path, stop_after=1, **settings) == [0, 1]
    assert train(tmp_path, load_from=str(tmp_path / 'stopped.pth'), resume=True, **settings) == [2, 3]


@pytest.mark.parametrize('batches', [{}, {'batch_sampler': {'type': BatchSampler, 'drop_last': False}}])
@pytest.mark.parametrize('endless', [False, True])
def test_without_a_seed_the_order_goes_on_where_it_was(tmp_path, endless, batches):
    by_iteration = {'sampler': 'InfiniteSampler', 'train_cfg': {'by_epoch': False, 'max_iters': 4}}
    settings = {'train': batches} | (by_iteration if endless else {'epochs': 1})
    begun = train(tmp_path, stop_after=2, **settings)
    rest = train(tmp_path, resume=True, load_from=str(tmp_path / 'stopped.pth'), **settings)
    assert Counter(begun + rest) == Counter(range(8))


@pytest.mark.parametrize('batches', [{}, {'batch_sampler': {'type': BatchSampler, 'drop_last': False}}])
def test_a_later_epoch_goes_on_in_its_own_order(tmp_path, batches):
    settings = {'train': batches, 'epochs': 2, 'randomness': {'seed': 3}}  # of which epochs 1 and 2 differ
    begun = train(tmp_path, stop_after=6, **settings)
    rest = train(tmp_path, resume=True, load_from=str(tmp_path / 'stopped.pth'), **settings)
    assert Counter(begun[8:] + rest) == Counter(range(8))


def mark(worker_id, *args, **kwargs):
    get_worker_info().dataset.metainfo['marked_by'] = worker_id


def collate(samples):
    worker = get_worker_info()
    assert worker.dataset.metainfo['marked_by'] == worker.id
    return {'inputs': [sample['inputs'] for sample in samples]}


@pytest.mark.parametrize('workers', [1, 2])
def test_the_configs_own_worker_init_fn_and_collate_fn_are_called(tmp_path, workers):
    for function in (mark, collate):
        FUNCTIONS.register_module(module=function, force=True)
    loader = {'num_workers': workers, 'worker_init_fn': {'type': 'mark'}, 'collate_fn': {'type': 'collate'}}
    small_runner(tmp_path, epochs=1, train=loader, custom_hooks=[IterationSeedHook()]).train()
