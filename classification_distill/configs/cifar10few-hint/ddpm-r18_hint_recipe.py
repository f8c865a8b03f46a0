_base_ = [
    '../_base_/recipes/middle_and_decoder.py',
    '../_base_/datasets/cifar10few_b64.py',
    '../_base_/schedules/adamw_200e.py',
    '../_base_/default_runtime.py',
]
work_dir = 'work_dirs/cifar10few-hint/ddpm-r18_hint_recipe'

model = dict(
    type='RepFusion',
    teacher=dict(type='DiffusersTeacher', pretrained='google/ddpm-cifar10-32'),
    backbone=dict(type='ResNet_CIFAR', depth=18, out_indices=(2, 3)),
    feature_cache=dict(views=4))

train_dataloader = dict(drop_last=True)
val_dataloader = val_evaluator = val_cfg = test_dataloader = test_evaluator = test_cfg = None
custom_hooks = [dict(type='TimestepHistogramHook', interval=100)]
default_hooks = dict(checkpoint=dict(interval=10))
