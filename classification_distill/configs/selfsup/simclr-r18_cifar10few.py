# SimCLR of MMPretrain ("A Simple Framework for Contrastive Learning of Visual Representations", Chen et al., ICML
# 2020), as for CIFAR-10 in its appendix B.9: what images teach without a diffusion model.
_base_ = [
    '../_base_/datasets/cifar10few_b64.py',
    '../_base_/schedules/adamw_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='SimCLR',
    backbone=dict(type='ResNet_CIFAR', depth=18, out_indices=(3, )),
    neck=dict(
        type='NonLinearNeck',
        in_channels=512,
        hid_channels=512,
        out_channels=128,
        num_layers=2,
        norm_cfg=dict(type='BN1d')),
    head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.5))
data_preprocessor = dict(
    type='ViewsPreprocessor',
    augments=[
        dict(type='BatchResizedCrop', scale=(0.2, 1.0)),
        dict(type='BatchFlip', prob=0.5),
        dict(type='BatchColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, prob=0.8),
        dict(type='BatchGrey', prob=0.2),
    ])

train_dataloader = dict(batch_size=256, drop_last=True)
auto_scale_lr = dict(base_batch_size=256)
val_dataloader = val_evaluator = val_cfg = test_dataloader = test_evaluator = test_cfg = None
