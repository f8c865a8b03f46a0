_base_ = 'res50_wflw_256x256_baseline_bs64x2.py'

# What classification_distill/configs/celebahq-hint/ddpm-r50_hint.py ends with.
distilled = '../classification_distill/work_dirs/celebahq-hint/ddpm-r50_hint/epoch_200.pth'

model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=distilled, prefix='student.backbone.')))
