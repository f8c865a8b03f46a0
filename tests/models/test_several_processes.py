"""Statistics that several processes share, in real processes."""

import pytest
import torch
import torch.multiprocessing as mp
from mmcls.models import FeatureStandardizer, ReinforcePolicy
from mmcls.models.timestep_policies import TimestepSample


def share_statistics(rank, folder):
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    policy = ReinforcePolicy(image_size=8)
    zeros = torch.zeros(4)
    policy.loss(TimestepSample(zeros, zeros, zeros), torch.full((4,), 10.0 * rank))
    standardizer = FeatureStandardizer(1)
    standardizer(torch.full((2, 1, 1, 1), 10.0 * rank), torch.zeros(2, dtype=torch.int64))
    mean = standardizer.total / standardizer.count
    torch.save((policy.reward_mean, mean), f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_baseline_and_standardizer_are_those_of_all_processes(tmp_path):
    mp.spawn(share_statistics, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        baseline, mean = torch.load(tmp_path / f'{rank}.pt')
        assert baseline.item() == pytest.approx(5)
        assert mean.item() == pytest.approx(5)
