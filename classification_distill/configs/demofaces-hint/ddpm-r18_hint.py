_base_ = [
    '../_base_/models/ddpm-demofaces-32.py',
    '../_base_/datasets/demofaces_parsing_b16.py',
    '../_base_/schedules/adamw_600i.py',
    '../_base_/iter_runtime.py',
]
work_dir = 'work_dirs/demofaces-hint/ddpm-r18_hint'

# Half the width of a ResNet-18. Its maps at strides 8, 16 and 32 meet the teacher's of 16x16, 8x8 and 8x8.
model = dict(
    teacher=dict(
        layers=['up_blocks.1.resnets.1.conv2', 'up_blocks.0.resnets.1.conv2', 'mid_block.resnets.1.conv2']),
    backbone=dict(type='ResNet', depth=18, stem_channels=32, base_channels=32, out_indices=(1, 2, 3)),
    timestep_policy=dict(type='UniformPolicy'))
