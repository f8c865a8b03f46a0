_base_ = [
    '../_base_/models/ddpm-ema-celebahq-256.py',
    '../_base_/datasets/celebahq_b16.py',
    '../_base_/schedules/sgd_200e.py',
    '../_base_/default_runtime.py',
]
work_dir = 'work_dirs/celebahq-hint/ddpm-hrnet18_hint'

model = dict(
    teacher=dict(layers=['mid_block.resnets.1.conv2']),
    backbone=dict(type='HRNet', arch='w18'),
    neck=dict(type='HRFuseScales', in_channels=(18, 36, 72, 144), out_channels=2048),
    distill_loss=dict(type='HintLoss', norm='l1', loss_weight=10.0, pooled=False),
    standardizer=dict(num_bins=1))  # published: none, under which a student can learn a constant

train_dataloader = dict(batch_size=32)  # 2 GPUs
