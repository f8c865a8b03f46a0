_base_ = [
    '../_base_/models/wrn28_10-tinyimagenet.py',
    '../_base_/datasets/tinyimagenet_b64.py',
    '../_base_/schedules/sgd_nesterov_200e.py',
    '../_base_/ema_runtime.py',
]

model = dict(
    backbone=dict(type='MobileNetV2CIFAR'),
    head=dict(in_channels=1280),
    distill_loss=dict(type='LogitKDLoss', temperature=4.0))
