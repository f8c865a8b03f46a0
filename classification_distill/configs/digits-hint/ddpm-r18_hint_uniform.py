_base_ = 'ddpm-r18_hint.py'

model = dict(timestep_policy=dict(_delete_=True, type='UniformPolicy'))
