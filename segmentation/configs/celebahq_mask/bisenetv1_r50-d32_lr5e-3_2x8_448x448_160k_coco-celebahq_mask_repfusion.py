_base_ = 'bisenetv1_r50-d32_lr5e-3_2x8_448x448_160k_coco-celebahq_mask_baseline.py'

# What classification_distill/configs/celebahq-hint/ddpm-r50_hint.py ends with.
distilled = '../classification_distill/work_dirs/celebahq-hint/ddpm-r50_hint/epoch_200.pth'

model = dict(
    backbone=dict(
        backbone_cfg=dict(
            init_cfg=dict(type='Pretrained', checkpoint=distilled, prefix='student.backbone.'))))
