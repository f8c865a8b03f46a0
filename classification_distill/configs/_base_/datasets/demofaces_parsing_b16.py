# Drawn faces with label maps, in CelebAMask-HQ's layout; the training split alone.
data_source = dict(command='python tools/prepare_data/demo_faces.py')
data_root = 'data/demo_faces/celebaHQ_mask/CelebAMask-HQ'
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='mmseg.BaseSegDataset',
        data_root=data_root,
        data_prefix=dict(img_path='CelebA-HQ-img', seg_map_path='mask'),
        ann_file='train.txt',
        metainfo=dict(classes=[str(i) for i in range(19)]),
        pipeline=[
            dict(type='mmseg.LoadImageFromFile'),
            dict(type='mmseg.LoadAnnotations'),
            dict(type='mmseg.RandomResize', scale=(128, 128), ratio_range=(1.0, 1.3), keep_ratio=True),
            dict(type='mmseg.RandomCrop', crop_size=(128, 128)),
            dict(type='mmseg.RandomFlip', prob=0.5, swap_seg_labels=[(4, 5), (6, 7), (8, 9)]),
            dict(type='mmseg.PackSegInputs'),
        ]))
auto_scale_lr = dict(base_batch_size=16)
