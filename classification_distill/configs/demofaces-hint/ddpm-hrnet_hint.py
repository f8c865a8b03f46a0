_base_ = [
    '../_base_/models/ddpm-demofaces-32.py',
    '../_base_/datasets/demofaces_landmarks_b16.py',
    '../_base_/schedules/adamw_1000i.py',
    '../_base_/iter_runtime.py',
]
work_dir = 'work_dirs/demofaces-hint/ddpm-hrnet_hint'

# A narrow and shallow HRNet. Its maps at strides 4, 8, 16 and 32 meet the teacher's of 32x32, 16x16, 8x8 and 8x8.
model = dict(
    teacher=dict(
        layers=['up_blocks.2.resnets.1', 'up_blocks.1.resnets.1', 'up_blocks.0.resnets.1', 'mid_block.resnets.1']),
    backbone=dict(
        type='HRNet',
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(2, ), num_channels=(32, )),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(2, 2), num_channels=(16, 32)),
            stage3=dict(
                num_modules=1, num_branches=3, block='BASIC', num_blocks=(2, 2, 2), num_channels=(16, 32, 64)),
            stage4=dict(
                num_modules=1,
                num_branches=4,
                block='BASIC',
                num_blocks=(2, 2, 2, 2),
                num_channels=(16, 32, 64, 128)))),
    timestep_policy=dict(type='UniformPolicy', timesteps=[20, 60, 150]))
