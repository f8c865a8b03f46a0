_base_ = [
    '../_base_/recipes/middle_and_decoder.py',
    '../_base_/datasets/cifar10few_b64.py',
    '../_base_/default_runtime.py',
]
work_dir = 'work_dirs/cifar10few-hint/ddpm-r18_hint_recipe'

model = dict(
    type='RepFusion',
    teacher=dict(type='DiffusersTeacher', pretrained='google/ddpm-cifar10-32'),
    backbone=dict(type='ResNet_CIFAR', depth=18, out_indices=(2, 3)),
    feature_cache=dict(views=4))

train_dataloader = dict(drop_last=True)
train_cfg = dict(by_epoch=True, max_epochs=200)
val_dataloader = val_evaluator = val_cfg = test_dataloader = test_evaluator = test_cfg = None
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-4))
param_scheduler = dict(type='CosineAnnealingLR', T_max=200, convert_to_iter_based=True)
custom_hooks = [dict(type='TimestepHistogramHook', interval=100)]
default_hooks = dict(checkpoint=dict(interval=10))
