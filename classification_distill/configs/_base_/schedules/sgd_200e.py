optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(type='MultiStepLR', milestones=[100, 150])
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=10)
