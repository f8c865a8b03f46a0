_base_ = '../digits-hint/ddpm-r18_hint.py'

model = dict(distill_loss=dict(_delete_=True, type='RKDLoss', distance_weight=25.0, angle_weight=50.0))
