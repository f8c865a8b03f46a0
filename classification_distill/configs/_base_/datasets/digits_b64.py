data_source = dict(
    url='https://scikit-learn.org/stable/modules/generated/sklearn.datasets.load_digits.html',
    command='python tools/prepare_data/digits.py')
data_root = 'data/digits'
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=8, padding=1),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        ann_file='meta/train.txt',
        data_prefix='images',
        metainfo=dict(classes=list('0123456789')),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        ann_file='meta/val.txt',
        data_prefix='images',
        metainfo=dict(classes=list('0123456789')),
        pipeline=test_pipeline))
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_dataloader = dict(val_dataloader, dataset=dict(val_dataloader['dataset'], ann_file='meta/test.txt'))
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=64)
