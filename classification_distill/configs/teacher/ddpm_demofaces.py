# A small DPM on drawn faces at 32x32.
_base_ = ['../_base_/datasets/demofaces_parsing_b16.py', '../_base_/iter_runtime.py']

model = dict(
    type='DDPMTrainer',
    unet=dict(
        sample_size=32,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        down_block_types=('DownBlock2D', 'DownBlock2D', 'DownBlock2D'),
        up_block_types=('UpBlock2D', 'UpBlock2D', 'UpBlock2D'),
        norm_num_groups=8))
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3)

train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        pipeline=[
            dict(type='mmseg.LoadImageFromFile'),
            dict(type='mmseg.Resize', scale=(32, 32), interpolation='area'),
            dict(type='mmseg.RandomFlip', prob=0.5),
            dict(type='mmseg.PackSegInputs'),
        ]))
auto_scale_lr = dict(base_batch_size=32)
train_cfg = dict(by_epoch=False, max_iters=3000)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=3000),
]

val_dataloader = val_evaluator = test_dataloader = test_evaluator = None
custom_hooks = [
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.01),
    dict(type='DDPMSampleHook', num_images=36),
    dict(type='DDPMPipelineHook'),
]
