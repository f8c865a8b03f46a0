_base_ = 'r18_b64_cifar10few_finetune.py'

# What configs/cifar10few-hint/ddpm-r18_hint.py ends with.
distilled = 'work_dirs/cifar10few-hint/ddpm-r18_hint/epoch_200.pth'

model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=distilled, prefix='student.backbone.')))
