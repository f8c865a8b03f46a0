# https://github.com/openai/guided-diffusion, "Download pre-trained models".
model = dict(
    type='RepFusion',
    teacher=dict(
        type='ADMTeacher', checkpoint='data/teachers/256x256_diffusion_uncond.pt', variant='256-uncond'),
    timestep_policy=dict(type='ReinforcePolicy'),
    task_head=dict(type='PooledMLPHead', num_classes=1000))
