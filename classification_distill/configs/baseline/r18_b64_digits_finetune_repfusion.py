_base_ = 'r18_b64_digits_finetune.py'

# The checkpoint that configs/digits-hint/ddpm-r18_hint.py ends with.
distilled = 'work_dirs/ddpm-r18_hint/epoch_100.pth'

model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=distilled, prefix='student.backbone.')))
