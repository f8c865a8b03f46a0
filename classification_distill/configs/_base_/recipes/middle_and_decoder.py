# What is distilled of a diffusion model's U-Net, as found on CIFAR-10 (docs/results.md): noised images at one early
# timestep; the middle block's average into the student's last stage, and the map of a decoder block into the stage before.
model = dict(
    teacher=dict(layers=['up_blocks.1.resnets.0', 'mid_block.resnets.1.conv2'], noise='forward'),
    timestep_policy=dict(type='FixedPolicy', timestep=60),
    distill_loss=[dict(type='HintLoss', pooled=False), dict(type='HintLoss')],
    standardizer=dict(num_bins=20))
