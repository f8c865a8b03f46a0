_base_ = [
    '../_base_/models/ddpm-cifar10-32.py',
    '../_base_/datasets/cifar10_b128.py',
    '../_base_/schedules/sgd_200e.py',
    '../_base_/policy_ema_runtime.py',
]
work_dir = 'work_dirs/cifar10-at/ddpm-r18_at'

# Raw features, as published: an attention map is where their energy lies.
model = dict(
    teacher=dict(layers=['mid_block.resnets.1.conv2']),
    backbone=dict(type='ResNet_CIFAR', depth=18, out_indices=(3, )),
    distill_loss=dict(type='ATLoss', loss_weight=1000.0))
