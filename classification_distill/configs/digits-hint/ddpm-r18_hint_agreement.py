_base_ = 'ddpm-r18_hint.py'

# No labels: the policy is rewarded for timesteps at which two views of an image agree. A mirrored digit is another one.
model = dict(task_head=dict(_delete_=True, type='ViewAgreementHead', flip=False))
val_dataloader = val_evaluator = val_cfg = test_dataloader = test_evaluator = test_cfg = None
train_cfg = dict(_delete_=True, by_epoch=True, max_epochs=100)
