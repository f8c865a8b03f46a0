_base_ = [
    '../_base_/models/adm-64.py',
    '../_base_/datasets/tinyimagenet_b64.py',
    '../_base_/schedules/sgd_nesterov_200e.py',
    '../_base_/policy_ema_runtime.py',
]
work_dir = 'work_dirs/tinyimagenet-hint/ddpm-r18_hint'

model = dict(
    teacher=dict(layers=['mid_block.resnets.1.conv2']),
    # Published: ResNet, whose first convolution does not fit the classifier's ResNet_CIFAR.
    backbone=dict(type='ResNet_CIFAR', depth=18, out_indices=(3, )),
    distill_loss=dict(type='HintLoss', loss_weight=1.0),
    standardizer=dict(num_bins=1))  # published: none, under which a student can learn a constant
