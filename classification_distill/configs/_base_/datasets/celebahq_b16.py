# All 30,000 images, as published, without labels: those on which the face parser is tested are among them.
data_source = dict(
    url='https://github.com/switchablenorms/CelebAMask-HQ', command='python tools/prepare_data/celebahq.py')
data_root = 'data/celebaHQ_mask/CelebAMask-HQ'
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='CelebA-HQ-img',
        with_label=False,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale=256),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ]))
auto_scale_lr = dict(base_batch_size=64)  # 4 GPUs
