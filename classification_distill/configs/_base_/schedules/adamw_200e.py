train_cfg = dict(by_epoch=True, max_epochs=200)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-4))
param_scheduler = dict(type='CosineAnnealingLR', T_max=200, convert_to_iter_based=True)
