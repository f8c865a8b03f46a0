_base_ = '../digits-hint/ddpm-r18_hint.py'

model = dict(distill_loss=dict(_delete_=True, type='CRDLoss', num_samples=1000, num_negatives=512))
