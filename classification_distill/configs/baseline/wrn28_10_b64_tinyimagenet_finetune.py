_base_ = [
    '../_base_/datasets/tinyimagenet_b64.py',
    '../_base_/schedules/sgd_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(type='WideResNet', depth=28, width_factor=10),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=200, in_channels=640))
