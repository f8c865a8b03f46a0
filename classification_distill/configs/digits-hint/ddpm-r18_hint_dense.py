_base_ = 'ddpm-r18_hint.py'

# The student's second stage has the teacher's 4x4 positions.
model = dict(
    backbone=dict(out_indices=(1, )),
    distill_loss=dict(pooled=False))
find_unused_parameters = True
