_base_ = ['../_base_/datasets/digits_b64.py', '../_base_/default_runtime.py']

# What configs/teacher/ddpm_digits.py trains.
pretrained = 'work_dirs/ddpm_digits/pipeline'

model = dict(
    type='RepFusion',
    teacher=dict(type='DiffusersTeacher', pretrained=pretrained, layers=['mid_block.resnets.1.conv2']),
    backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=16, base_channels=16, out_indices=(3, )),
    timestep_policy=dict(type='ReinforcePolicy'),
    distill_loss=dict(type='HintLoss', loss_weight=1.0),
    task_head=dict(type='PooledMLPHead', num_classes=10),
    standardizer=dict(num_bins=1))

train_dataloader = dict(drop_last=True)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=100)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-4, fused=True))  # on a CPU, too, a quarter of the time
param_scheduler = dict(type='CosineAnnealingLR', T_max=100, convert_to_iter_based=True)

custom_hooks = [
    dict(type='TimestepHistogramHook', interval=150),
    dict(type='FeaturePictureHook', interval=20),
]
default_hooks = dict(checkpoint=dict(interval=10))
