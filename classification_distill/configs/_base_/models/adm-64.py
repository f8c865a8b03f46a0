# https://github.com/openai/guided-diffusion, "Download pre-trained models".
# Published: class_labels='true', by which the teacher's features hold the answer; 'mean' is the default here.
model = dict(
    type='RepFusion',
    teacher=dict(type='ADMTeacher', checkpoint='data/teachers/64x64_diffusion.pt', variant='64'),
    timestep_policy=dict(type='ReinforcePolicy'),
    task_head=dict(type='PooledMLPHead', num_classes=200))
