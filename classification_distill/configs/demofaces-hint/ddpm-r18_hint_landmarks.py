# As ddpm-r18_hint.py, at timesteps chosen for landmarks, by the points.
_base_ = [
    '../_base_/models/ddpm-demofaces-32.py',
    '../_base_/datasets/demofaces_landmarks_b16.py',
    '../_base_/schedules/adamw_1000i.py',
    '../_base_/iter_runtime.py',
]
work_dir = 'work_dirs/demofaces-hint/ddpm-r18_hint_landmarks'

# Errors of heat maps differ less between timesteps than cross-entropies: a smaller bonus for entropy does.
model = dict(
    teacher=dict(
        layers=['up_blocks.2.resnets.1', 'up_blocks.1.resnets.1', 'up_blocks.0.resnets.1', 'mid_block.resnets.1']),
    backbone=dict(type='ResNet', depth=18, stem_channels=16, base_channels=16, out_indices=(0, 1, 2, 3)),
    timestep_policy=dict(type='ReinforcePolicy', entropy_weight=0.01),
    task_head=dict(type='HeatmapHead', num_keypoints=98))
custom_hooks = [dict(type='TimestepHistogramHook', interval=50)]
