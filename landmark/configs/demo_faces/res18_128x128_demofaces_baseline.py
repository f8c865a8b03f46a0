# A quarter of the width of a ResNet-18.
_base_ = 'hrnet_128x128_demofaces_baseline.py'

model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18, stem_channels=16, base_channels=16),
    neck=None,
    head=dict(
        in_channels=128, deconv_out_channels=(64, 64, 64), conv_out_channels=None, conv_kernel_sizes=None))
