_base_ = 'wrn28_2_b64_cifar10_finetune.py'

# What configs/cifar10-hint/ddpm-wrn28_2_hint.py ends with.
distilled = 'work_dirs/cifar10-hint/ddpm-wrn28_2_hint/epoch_200.pth'

model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=distilled, prefix='student.backbone.')))
