optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.005, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=1000, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-4, begin=1000, end=160000, by_epoch=False),
]
train_cfg = dict(by_epoch=False, max_iters=160000, val_interval=16000)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)  # 2 GPUs
