_base_ = ['../_base_/datasets/digits_b64.py', '../_base_/default_runtime.py']

# A classifier trained on all labels teaches a student of the same architecture.
model = dict(
    type='KDClassifier',
    teacher=dict(
        config='configs/baseline/r18_b64_digits_finetune.py',
        checkpoint='work_dirs/r18_b64_digits_finetune/iter_320.pth'),
    backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=16, base_channels=16, out_indices=(3, )),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=128, loss=dict(type='CrossEntropyLoss')),
    distill_loss=dict(type='LogitKDLoss', temperature=4.0))

train_dataloader = dict(drop_last=True)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=100)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-4))
param_scheduler = dict(type='CosineAnnealingLR', T_max=100, convert_to_iter_based=True)
default_hooks = dict(checkpoint=dict(interval=10))
