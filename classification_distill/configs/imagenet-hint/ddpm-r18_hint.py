_base_ = [
    '../_base_/models/adm-256-uncond.py',
    '../_base_/datasets/imagenet_b32.py',
    '../_base_/schedules/sgd_200e.py',
    '../_base_/policy_ema_runtime.py',
]
work_dir = 'work_dirs/imagenet-hint/ddpm-r18_hint'

model = dict(
    teacher=dict(layers=['mid_block.resnets.1.conv2']),
    backbone=dict(type='ResNet', depth=18, out_indices=(3, )),
    distill_loss=dict(type='HintLoss', loss_weight=1.0),
    standardizer=dict(num_bins=1))  # published: none, under which a student can learn a constant

# The teacher's own image size, as published; a classifier is trained at 224.
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale=256),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ]))
