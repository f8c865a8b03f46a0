data_source = dict(
    url='http://cs231n.stanford.edu/tiny-imagenet-200.zip', command='python tools/prepare_data/tiny_imagenet.py')
data_root = 'data/tiny-imagenet-200'
data_preprocessor = dict(
    type='BatchPreprocessor',
    augments=[dict(type='BatchResizedCrop', size=64), dict(type='BatchFlip', prob=0.5)],
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True)

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='whole_batch'),
    dataset=dict(
        type='ImagesInMemory',
        dataset=dict(
            type='CustomDataset',
            data_root=data_root,
            data_prefix='train',
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')])))
val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='whole_batch'),
    dataset=dict(
        type='ImagesInMemory',
        dataset=dict(
            type='CustomDataset',
            data_root=data_root,
            data_prefix='val',
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')])))
val_evaluator = dict(type='Accuracy', topk=(1, 5))
val_cfg = dict()
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64)
