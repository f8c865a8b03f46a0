_base_ = [
    '../_base_/models/ddpm-demofaces-32.py',
    '../_base_/datasets/demofaces_parsing_b16.py',
    '../_base_/schedules/adamw_1000i.py',
    '../_base_/iter_runtime.py',
]
work_dir = 'work_dirs/demofaces-hint/ddpm-r18_hint'

# A quarter of the width of a ResNet-18. Its maps at strides 4, 8, 16 and 32 meet the teacher's of 32x32, 16x16, 8x8
# and 8x8.
model = dict(
    teacher=dict(
        layers=['up_blocks.2.resnets.1', 'up_blocks.1.resnets.1', 'up_blocks.0.resnets.1', 'mid_block.resnets.1']),
    backbone=dict(type='ResNet', depth=18, stem_channels=16, base_channels=16, out_indices=(0, 1, 2, 3)),
    timestep_policy=dict(type='UniformPolicy', timesteps=[20, 60, 150]))
