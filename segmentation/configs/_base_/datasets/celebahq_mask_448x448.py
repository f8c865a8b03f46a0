# The official split; images of 1024x1024 pixels, masks of 512x512. Left and right are the person's.
data_source = dict(
    url='https://github.com/switchablenorms/CelebAMask-HQ', command='python tools/prepare_data/celebamask_hq.py')
data_root = 'data/celebaHQ_mask/CelebAMask-HQ'
metainfo = dict(
    classes=[
        'background', 'skin', 'nose', 'eye_g', 'l_eye', 'r_eye', 'l_brow', 'r_brow', 'l_ear', 'r_ear', 'mouth',
        'u_lip', 'l_lip', 'hair', 'hat', 'ear_r', 'neck_l', 'neck', 'cloth'
    ],
    palette=[[0, 0, 0], [204, 0, 0], [76, 153, 0], [204, 204, 0], [51, 51, 255], [204, 0, 204], [0, 255, 255],
             [255, 204, 204], [102, 51, 0], [255, 0, 0], [102, 204, 0], [255, 255, 0], [0, 0, 153], [0, 0, 204],
             [255, 51, 153], [0, 204, 204], [0, 51, 0], [255, 153, 51], [0, 204, 0]])
left_and_right = [(4, 5), (6, 7), (8, 9)]  # eyes, brows, ears

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(512, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(448, 448), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5, swap_seg_labels=left_and_right),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale_factor=1.0, keep_ratio=True),  # masks to the size of the image, at which it is scored
    # The image alone: KeyMapper hides the masks.
    dict(
        type='KeyMapper',
        mapping=dict(seg_fields=...),
        auto_remap=False,
        transforms=[dict(type='Resize', scale=(512, 512), keep_ratio=True)]),
    dict(type='PackSegInputs'),
]
dataset = dict(
    type='BaseSegDataset',
    data_root=data_root,
    data_prefix=dict(img_path='CelebA-HQ-img', seg_map_path='mask'),
    metainfo=metainfo)

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(dataset, ann_file='train.txt', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(dataset, ann_file='val.txt', pipeline=test_pipeline))
test_dataloader = dict(val_dataloader, dataset=dict(dataset, ann_file='test.txt', pipeline=test_pipeline))
# A class that is never found has F1 0; without nan_to_num the mean would leave it out.
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU', 'mFscore'], nan_to_num=0)
test_evaluator = val_evaluator
