_base_ = 'ddpm-r18_hint.py'

# As published: plain features, whose differences between timesteps outweigh those between images.
model = dict(standardizer=None)
