_base_ = [
    '../../../../_base_/models/hrnetv2_w18_heatmap.py',
    '../../../../_base_/datasets/wflw_256x256.py',
    '../../../../_base_/schedules/adam_60e.py',
    '../../../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=128)
auto_scale_lr = dict(base_batch_size=256)  # 2 GPUs
