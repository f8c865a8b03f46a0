_base_ = 'bisenetv1_r18_128x128_demofaces_baseline.py'

# What classification_distill/configs/demofaces-hint/ddpm-r18_hint.py ends with.
distilled = '../classification_distill/work_dirs/demofaces-hint/ddpm-r18_hint/iter_1000.pth'

model = dict(
    backbone=dict(
        backbone_cfg=dict(
            init_cfg=dict(type='Pretrained', checkpoint=distilled, prefix='student.backbone.'))))
