"""A real Runner of a linear model that ends in a moment."""

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn


class Linear(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        output = self.layer(torch.stack(inputs).float())
        return {'loss': output.square().mean()} if mode == 'loss' else [output]


class Images(torch.utils.data.Dataset):
    """Each image is its own number."""

    def __init__(self, size):
        self.size = size
        self.metainfo = {}

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return {'inputs': torch.tensor([index])}


class Scores(BaseMetric):
    """The given scores, one a validation."""

    def __init__(self, scores):
        super().__init__()
        self.scores = iter(scores)

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return next(self.scores)


def small_runner(work_dir, images=8, epochs=3, scores=None, train=None, sampler='DefaultSampler', **settings) -> Runner:
    """A Runner whose validations, where there are scores, give those; ``train`` changes the dataloader."""
    if scores:
        loader = {'batch_size': 1, 'dataset': Images(1), 'sampler': {'type': 'DefaultSampler', 'shuffle': False}}
        settings |= {'val_dataloader': loader, 'val_cfg': {}, 'val_evaluator': [Scores(scores)]}
    dataloader = {'batch_size': 2, 'dataset': Images(images), 'sampler': {'type': sampler, 'shuffle': True}}
    defaults = {'train_cfg': {'by_epoch': True, 'max_epochs': epochs}, 'default_scope': 'mmpretrain'}
    defaults['optim_wrapper'] = {'optimizer': {'type': 'SGD', 'lr': 0.01}}
    defaults['randomness'] = {'seed': None}  # its default is one dict, into which Runner.resume writes the seed
    return Runner(
        Linear(),
        str(work_dir),
        train_dataloader=dataloader | {'collate_fn': {'type': 'pseudo_collate'}} | (train or {}),
        experiment_name=f'small_{id(settings)}',
        log_level='ERROR',
        **defaults | settings,
    )
