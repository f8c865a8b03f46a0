# BYOL of MMPretrain ("Bootstrap Your Own Latent", Grill et al., NeurIPS 2020).
_base_ = 'simclr-r18_cifar10few.py'

model = dict(
    type='BYOL',
    base_momentum=0.01,
    neck=dict(hid_channels=1024, out_channels=256),
    head=dict(
        _delete_=True,
        type='LatentPredictHead',
        loss=dict(type='CosineSimilarityLoss'),
        predictor=dict(
            type='NonLinearNeck',
            in_channels=256,
            hid_channels=1024,
            out_channels=256,
            num_layers=2,
            with_last_bn=False,
            with_last_bias=True,
            with_avg_pool=False,
            norm_cfg=dict(type='BN1d'))))
