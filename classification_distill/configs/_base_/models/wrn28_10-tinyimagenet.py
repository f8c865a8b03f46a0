# The teacher is what configs/baseline/wrn28_10_b64_tinyimagenet_finetune.py ends with.
model = dict(
    type='KDClassifier',
    teacher=dict(
        config='configs/baseline/wrn28_10_b64_tinyimagenet_finetune.py',
        checkpoint='work_dirs/wrn28_10_b64_tinyimagenet_finetune/epoch_200.pth'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=200))
