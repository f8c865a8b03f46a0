# As ddpm-r18_hint.py, at timesteps chosen for parsing, by the label maps.
_base_ = 'ddpm-r18_hint.py'
work_dir = 'work_dirs/demofaces-hint/ddpm-r18_hint_parsing'

model = dict(
    timestep_policy=dict(_delete_=True, type='ReinforcePolicy'),
    task_head=dict(type='DenseSegHead', num_classes=19))
custom_hooks = [dict(type='TimestepHistogramHook', interval=50)]
