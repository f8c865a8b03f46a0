_base_ = 'r18_b32_imagenet_finetune.py'

# What configs/imagenet-hint/ddpm-r18_hint.py ends with.
distilled = 'work_dirs/imagenet-hint/ddpm-r18_hint/epoch_200.pth'

model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=distilled, prefix='student.backbone.')))
