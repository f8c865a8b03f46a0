_base_ = [
    '../_base_/models/ddpm-cifar10-32.py',
    '../_base_/datasets/cifar10_b128.py',
    '../_base_/schedules/sgd_200e.py',
    '../_base_/policy_ema_runtime.py',
]
work_dir = 'work_dirs/cifar10-crd/ddpm-mbnv2_crd'

model = dict(
    teacher=dict(layers=['mid_block.resnets.1.conv2']),
    backbone=dict(type='MobileNetV2CIFAR'),
    distill_loss=dict(type='CRDLoss', num_samples=50000, loss_weight=0.8),
    standardizer=dict(num_bins=1))  # channels differ in scale far more than images do
