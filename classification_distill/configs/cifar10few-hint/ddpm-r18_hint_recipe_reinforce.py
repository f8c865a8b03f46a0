_base_ = 'ddpm-r18_hint_recipe.py'
work_dir = 'work_dirs/cifar10few-hint/ddpm-r18_hint_recipe_reinforce'

model = dict(
    timestep_policy=dict(_delete_=True, type='ReinforcePolicy'),
    task_head=dict(type='PooledMLPHead', num_classes=10))
