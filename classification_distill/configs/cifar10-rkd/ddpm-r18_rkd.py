_base_ = [
    '../_base_/models/ddpm-cifar10-32.py',
    '../_base_/datasets/cifar10_b128.py',
    '../_base_/schedules/sgd_200e.py',
    '../_base_/policy_ema_runtime.py',
]
work_dir = 'work_dirs/cifar10-rkd/ddpm-r18_rkd'

# Raw features, as published: distances are relative to the batch, so a constant student gains nothing.
model = dict(
    teacher=dict(layers=['mid_block.resnets.1.conv2']),
    backbone=dict(type='ResNet_CIFAR', depth=18, out_indices=(3, )),
    distill_loss=dict(type='RKDLoss', loss_weight=1.0))
