# A small DPM on 8x8 digits: what DiffusersTeacher reads where no published model fits the domain.
_base_ = ['../_base_/datasets/digits_b64.py', '../_base_/default_runtime.py']

model = dict(
    type='DDPMTrainer',
    unet=dict(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=('DownBlock2D', 'DownBlock2D'),
        up_block_types=('UpBlock2D', 'UpBlock2D'),
        norm_num_groups=8))

train_dataloader = dict(drop_last=True)
train_cfg = dict(by_epoch=True, max_epochs=80)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, fused=True), clip_grad=dict(max_norm=1.0))
param_scheduler = dict(type='CosineAnnealingLR', T_max=80, convert_to_iter_based=True)

val_dataloader = val_evaluator = test_dataloader = test_evaluator = None
custom_hooks = [
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.01),
    dict(type='DDPMSampleHook', interval=20),
    dict(type='DDPMPipelineHook'),
]
default_hooks = dict(checkpoint=dict(interval=10))
