# For a timestep policy that learns.
_base_ = 'default_runtime.py'

custom_hooks = [
    dict(type='TimestepHistogramHook', interval=500),
    dict(type='FeaturePictureHook', interval=10),
]
