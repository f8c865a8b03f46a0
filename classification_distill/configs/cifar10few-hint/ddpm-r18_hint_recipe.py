# The first decoder block after the attention, of noised images at one early timestep.
_base_ = 'ddpm-r18_hint.py'
work_dir = 'work_dirs/cifar10few-hint/ddpm-r18_hint_recipe'

model = dict(
    teacher=dict(layers=['up_blocks.1.resnets.0'], noise='forward'),
    timestep_policy=dict(_delete_=True, type='FixedPolicy', timestep=60),
    task_head=None)
