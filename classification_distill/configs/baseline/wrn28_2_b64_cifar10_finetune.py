_base_ = [
    '../_base_/datasets/cifar10_b64.py',
    '../_base_/schedules/sgd_nesterov_200e.py',
    '../_base_/ema_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(type='WideResNet', depth=28, width_factor=2),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=128))
