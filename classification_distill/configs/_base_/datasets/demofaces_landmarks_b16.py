# Drawn faces with 98 points, in WFLW's layout; the training split alone.
data_source = dict(command='python tools/prepare_data/demo_faces.py')
data_root = 'data/demo_faces/wflw'
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
codec = dict(type='mmpose.MSRAHeatmap', input_size=(128, 128), heatmap_size=(32, 32), sigma=1.5)

train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='mmpose.WFLWDataset',
        data_root=data_root,
        data_prefix=dict(img='images'),
        ann_file='annotations/face_landmarks_wflw_train.json',
        pipeline=[
            dict(type='mmpose.LoadImage'),
            dict(type='mmpose.GetBBoxCenterScale'),
            dict(type='mmpose.RandomFlip', direction='horizontal'),
            dict(type='mmpose.RandomBBoxTransform', shift_prob=0, rotate_factor=40, scale_factor=(0.75, 1.25)),
            dict(type='mmpose.TopdownAffine', input_size=codec['input_size']),
            dict(type='mmpose.GenerateTarget', encoder=codec),
            dict(type='mmpose.PackPoseInputs'),
        ]))
auto_scale_lr = dict(base_batch_size=16)
