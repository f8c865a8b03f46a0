_base_ = [
    '../_base_/models/ddpm-ema-celebahq-256.py',
    '../_base_/datasets/celebahq_b16.py',
    '../_base_/schedules/sgd_200e.py',
    '../_base_/default_runtime.py',
]
work_dir = 'work_dirs/celebahq-hint/ddpm-r50_hint'

model = dict(
    teacher=dict(layers=['mid_block.resnets.1.conv2']),
    backbone=dict(type='ResNet', depth=50, out_indices=(3, )),
    distill_loss=dict(type='HintLoss', norm='l1', loss_weight=10.0, pooled=False),
    standardizer=dict(num_bins=1))  # published: none, under which a student can learn a constant

train_dataloader = dict(batch_size=8)  # 8 GPUs
