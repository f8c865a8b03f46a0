_base_ = 'ddpm-r18_hint_recipe.py'
work_dir = 'work_dirs/cifar10few-hint/ddpm-r18_hint_recipe_uniform'

model = dict(timestep_policy=dict(_delete_=True, type='UniformPolicy', timesteps=[20, 60, 120]))
