# What configs/teacher/ddpm_demofaces.py trains.
pretrained = 'work_dirs/ddpm_demofaces/pipeline'

model = dict(
    type='RepFusion',
    teacher=dict(type='DiffusersTeacher', pretrained=pretrained),
    distill_loss=dict(type='HintLoss', norm='l2', pooled=False),
    standardizer=dict(num_bins=20))
