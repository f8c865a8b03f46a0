# What drawn faces teach without a diffusion model; the student is that of demofaces-hint/ddpm-r18_hint.py.
_base_ = 'simclr-r18_cifar10few.py'

data_source = dict(_delete_=True, command='python tools/prepare_data/demo_faces.py')
data_root = 'data/demo_faces/celebaHQ_mask/CelebAMask-HQ'
model = dict(
    backbone=dict(type='ResNet', stem_channels=16, base_channels=16), neck=dict(in_channels=128))
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])

train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type='mmseg.BaseSegDataset',
            data_root=data_root,
            data_prefix=dict(img_path='CelebA-HQ-img'),
            ann_file='train.txt',
            pipeline=[dict(type='mmseg.LoadImageFromFile'), dict(type='mmseg.PackSegInputs')])))
auto_scale_lr = dict(base_batch_size=128)
# No less time than the distillation takes.
train_cfg = dict(max_epochs=20)
param_scheduler = dict(T_max=20)
