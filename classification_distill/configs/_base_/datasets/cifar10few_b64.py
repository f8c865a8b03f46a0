data_source = dict(
    url='https://www.cs.toronto.edu/~kriz/cifar.html',
    command='python tools/prepare_data/cifar10_few_labels.py')
data_root = 'data/cifar10_few_labels'
data_preprocessor = dict(
    type='BatchPreprocessor',
    augments=[dict(type='BatchCrop', padding=4), dict(type='BatchFlip', prob=0.5)],
    mean=[127.5] * 3,
    std=[127.5] * 3,
    to_rgb=True)

dataset = dict(
    type='ImagesInMemory',
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        ann_file='meta/train_45000_0.txt',
        data_prefix='images',
        metainfo=dict(
            classes=['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck']),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(32, 32)),
            dict(type='PackInputs'),
        ]))
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='whole_batch'),
    dataset=dataset)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='whole_batch'),
    dataset=dict(dataset, dataset=dict(dataset['dataset'], ann_file='meta/val.txt')))
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_dataloader = dict(
    val_dataloader, dataset=dict(dataset, dataset=dict(dataset['dataset'], ann_file='meta/test.txt')))
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=64)
