_base_ = [
    '../_base_/models/adm-64.py',
    '../_base_/datasets/tinyimagenet_b64.py',
    '../_base_/schedules/sgd_nesterov_200e.py',
    '../_base_/policy_ema_runtime.py',
]
work_dir = 'work_dirs/tinyimagenet-rkd/ddpm-wrn28_2_rkd'

# Raw features, as published: distances are relative to the batch, so a constant student gains nothing.
model = dict(
    teacher=dict(layers=['mid_block.resnets.1.conv2']),
    backbone=dict(type='WideResNet', depth=28, width_factor=2),
    distill_loss=dict(type='RKDLoss', loss_weight=1.0))
