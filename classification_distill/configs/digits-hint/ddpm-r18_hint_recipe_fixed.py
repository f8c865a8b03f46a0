_base_ = 'ddpm-r18_hint_recipe.py'

model = dict(timestep_policy=dict(_delete_=True, type='FixedPolicy', timestep=100), task_head=None)
