_base_ = 'cifar10_b128.py'

train_dataloader = dict(batch_size=64)
auto_scale_lr = dict(base_batch_size=64)
