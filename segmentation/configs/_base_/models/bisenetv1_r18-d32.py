# As MMSegmentation has it, for the 19 classes of CelebAMask-HQ.
norm_cfg = dict(type='BN')
auxiliary_head = dict(
    type='FCNHead',
    in_channels=128,
    channels=64,
    num_convs=1,
    num_classes=19,
    norm_cfg=norm_cfg,
    concat_input=False,
    loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0))
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(448, 448),
        pad_val=0,
        seg_pad_val=255),
    backbone=dict(
        type='BiSeNetV1',
        context_channels=(128, 256, 512),
        spatial_channels=(64, 64, 64, 128),
        out_indices=(0, 1, 2),
        out_channels=256,
        backbone_cfg=dict(type='ResNet', depth=18, norm_cfg=norm_cfg),
        norm_cfg=norm_cfg),
    decode_head=dict(
        type='FCNHead',
        in_channels=256,
        in_index=0,
        channels=256,
        num_convs=1,
        num_classes=19,
        norm_cfg=norm_cfg,
        concat_input=False,
        dropout_ratio=0.1,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0)),
    auxiliary_head=[dict(auxiliary_head, in_index=1), dict(auxiliary_head, in_index=2)],
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
