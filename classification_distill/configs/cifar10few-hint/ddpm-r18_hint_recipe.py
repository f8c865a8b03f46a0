# The recipe: of noised images at one early timestep, the middle block's average into the student's last stage, and the
# map of the first decoder block after it into the stage of the same size.
_base_ = 'ddpm-r18_hint.py'
work_dir = 'work_dirs/cifar10few-hint/ddpm-r18_hint_recipe'

model = dict(
    teacher=dict(layers=['up_blocks.1.resnets.0', 'mid_block.resnets.1.conv2'], noise='forward'),
    backbone=dict(out_indices=(2, 3)),
    timestep_policy=dict(_delete_=True, type='FixedPolicy', timestep=60),
    distill_loss=[dict(type='HintLoss', pooled=False), dict(type='HintLoss')],
    task_head=None)
