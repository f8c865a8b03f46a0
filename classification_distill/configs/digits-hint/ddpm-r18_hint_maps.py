_base_ = 'ddpm-r18_hint.py'

# Whole maps, not their averages, into the student's stage of the same 4x4 positions. Its later stages get no gradient.
model = dict(
    backbone=dict(out_indices=(1, )), distill_loss=dict(pooled=False))
find_unused_parameters = True
