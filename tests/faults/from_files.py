# The digits decoded and cropped one by one, as data sets are that do not fit into memory: workers can share the work.
_base_ = '../../classification_distill/configs/digits-hint/ddpm-r18_hint.py'

data_preprocessor = dict(_delete_=True, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)
train_dataloader = dict(
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root={{_base_.data_root}},
        ann_file='meta/train.txt',
        data_prefix='images',
        metainfo=dict(classes=list('0123456789')),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomCrop', crop_size=8, padding=1),
            dict(type='PackInputs'),
        ],
    ),
)
