# The paper's settings: the middle block's average, of clean images, at timesteps that the policy chooses.
_base_ = [
    '../_base_/models/ddpm-cifar10-32.py',
    '../_base_/datasets/cifar10few_b64.py',
    '../_base_/schedules/adamw_200e.py',
    '../_base_/default_runtime.py',
]
work_dir = 'work_dirs/cifar10few-hint/ddpm-r18_hint'

model = dict(
    teacher=dict(layers=['mid_block.resnets.1.conv2']),
    backbone=dict(type='ResNet_CIFAR', depth=18, out_indices=(3, )),
    distill_loss=dict(type='HintLoss', loss_weight=1.0),
    standardizer=dict(num_bins=20),
    feature_cache=dict(views=4))

train_dataloader = dict(drop_last=True)
val_dataloader = val_evaluator = val_cfg = test_dataloader = test_evaluator = test_cfg = None
custom_hooks = [dict(type='TimestepHistogramHook', interval=100)]
default_hooks = dict(checkpoint=dict(interval=10))
