_base_ = 'policy_runtime.py'

custom_hooks = [
    dict(type='TimestepHistogramHook', interval=500),
    dict(type='FeaturePictureHook', interval=10),
    dict(type='EMAHook', momentum=1e-3),
]
