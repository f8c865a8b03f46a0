data_source = dict(
    url='https://www.cs.toronto.edu/~kriz/cifar.html', command='python tools/prepare_data/cifar10.py')
data_root = 'data/cifar10'
data_preprocessor = dict(
    type='BatchPreprocessor',
    augments=[dict(type='BatchCrop', padding=4), dict(type='BatchFlip', prob=0.5)],
    mean=[128.0] * 3,
    std=[128.0] * 3)  # the data set's images are RGB already

train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='whole_batch'),
    dataset=dict(
        type='ImagesInMemory',
        dataset=dict(
            type='CIFAR10',
            data_root=data_root,
            split='train',
            download=False,
            pipeline=[dict(type='PackInputs')])))
val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='whole_batch'),
    dataset=dict(
        type='ImagesInMemory',
        dataset=dict(
            type='CIFAR10',
            data_root=data_root,
            split='test',
            download=False,
            pipeline=[dict(type='PackInputs')])))
val_evaluator = dict(type='Accuracy', topk=(1, ))
val_cfg = dict()
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
