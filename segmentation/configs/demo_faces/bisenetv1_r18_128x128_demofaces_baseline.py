_base_ = [
    '../_base_/models/bisenetv1_r18-d32.py',
    '../_base_/datasets/celebahq_mask_448x448.py',
    '../_base_/default_runtime.py',
]

data_source = dict(_delete_=True, command='python tools/prepare_data/demo_faces.py')
data_root = 'data/demo_faces/celebaHQ_mask/CelebAMask-HQ'

# A quarter of the width of a BiSeNet-R18.
auxiliary_head = dict(_base_.auxiliary_head, in_channels=32, channels=16)
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(
        context_channels=(32, 64, 128),
        spatial_channels=(16, 16, 16, 32),
        out_channels=64,
        backbone_cfg=dict(stem_channels=16, base_channels=16)),
    decode_head=dict(in_channels=64, channels=64),
    auxiliary_head=[dict(auxiliary_head, in_index=1), dict(auxiliary_head, in_index=2)])

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(128, 128), ratio_range=(1.0, 1.3), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(128, 128)),
    dict(type='RandomFlip', prob=0.5, swap_seg_labels=_base_.left_and_right),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale_factor=1.0, keep_ratio=True),  # as for CelebAMask-HQ
    dict(
        type='KeyMapper',
        mapping=dict(seg_fields=...),
        auto_remap=False,
        transforms=[dict(type='Resize', scale=(128, 128), keep_ratio=True)]),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16, num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=16, num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root, pipeline=test_pipeline))

# As many iterations whatever the number of label maps.
train_cfg = dict(by_epoch=False, max_iters=800, val_interval=800)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=800),
]
default_hooks = dict(checkpoint=dict(interval=800))
