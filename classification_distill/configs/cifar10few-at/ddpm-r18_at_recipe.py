_base_ = '../cifar10few-hint/ddpm-r18_hint_recipe.py'
work_dir = 'work_dirs/cifar10few-at/ddpm-r18_at_recipe'

# Where the decoder's map is strong, instead of the map itself.
model = dict(distill_loss=[dict(type='ATLoss'), dict(type='HintLoss')])
