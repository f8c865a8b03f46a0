import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Make every epoch's random draws depend on the seed, the epoch and the rank alone.

    No checkpoint holds random states. With this hook a run resumed from an epoch's end draws the same augmentations,
    timesteps and noise as one that was never stopped. Workers take their seeds from the main process's generator, a
    new one each epoch (MMEngine's own seeding repeats the same draws in every epoch), so they must not persist.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner) -> None:
        loader = runner.train_dataloader
        if loader.num_workers and loader.persistent_workers:
            raise ValueError('EpochSeedHook: set train_dataloader.persistent_workers=False, or remove the hook.')
        loader.worker_init_fn = None
        sequence = np.random.SeedSequence((runner.seed, runner.epoch, get_rank()))
        seed = int(sequence.generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
