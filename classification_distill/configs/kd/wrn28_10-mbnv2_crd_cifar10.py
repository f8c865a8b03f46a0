_base_ = [
    '../_base_/models/wrn28_10-cifar10.py',
    '../_base_/datasets/cifar10_b128.py',
    '../_base_/schedules/sgd_200e.py',
    '../_base_/ema_runtime.py',
]

model = dict(
    backbone=dict(type='MobileNetV2CIFAR'),
    head=dict(in_channels=1280),
    distill_loss=dict(type='CRDLoss', num_samples=50000, loss_weight=0.8))
