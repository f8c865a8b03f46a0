_base_ = 'default_runtime.py'

custom_hooks = [
    dict(type='EMAHook', momentum=1e-3),
]
