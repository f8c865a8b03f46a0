_base_ = '../digits-hint/ddpm-r18_hint.py'

model = dict(distill_loss=dict(_delete_=True, type='InfoNCELoss', temperature=0.1))
