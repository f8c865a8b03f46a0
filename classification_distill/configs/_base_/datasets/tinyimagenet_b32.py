_base_ = 'tinyimagenet_b64.py'

train_dataloader = dict(batch_size=32)
auto_scale_lr = dict(base_batch_size=32)
