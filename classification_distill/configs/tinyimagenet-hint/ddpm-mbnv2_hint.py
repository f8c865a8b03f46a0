_base_ = [
    '../_base_/models/adm-64.py',
    '../_base_/datasets/tinyimagenet_b64.py',
    '../_base_/schedules/sgd_nesterov_200e.py',
    '../_base_/policy_ema_runtime.py',
]
work_dir = 'work_dirs/tinyimagenet-hint/ddpm-mbnv2_hint'

model = dict(
    teacher=dict(layers=['mid_block.resnets.1.conv2']),
    backbone=dict(type='MobileNetV2CIFAR'),
    distill_loss=dict(type='HintLoss', loss_weight=1.0),
    standardizer=dict(num_bins=1))  # published: none, under which a student can learn a constant
