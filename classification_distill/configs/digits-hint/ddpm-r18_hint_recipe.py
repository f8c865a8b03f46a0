_base_ = 'ddpm-r18_hint_agreement.py'

# Besides the middle's average a decoder block's map, into the stage of the same 4x4 positions (docs/results.md).
model = dict(
    teacher=dict(layers=['up_blocks.0.resnets.0', 'mid_block.resnets.1.conv2']),
    backbone=dict(out_indices=(1, 3)),
    distill_loss=[dict(type='HintLoss', pooled=False), dict(type='HintLoss')])
