_base_ = 'bisenetv1_r18-d32.py'

auxiliary_head = dict(_base_.auxiliary_head, in_channels=512, channels=256)
model = dict(
    backbone=dict(
        context_channels=(512, 1024, 2048),
        spatial_channels=(256, 256, 256, 512),
        out_channels=1024,
        backbone_cfg=dict(depth=50)),
    decode_head=dict(in_channels=1024, channels=1024),
    auxiliary_head=[dict(auxiliary_head, in_index=1), dict(auxiliary_head, in_index=2)])
