# https://huggingface.co/google/ddpm-cifar10-32; fetched by diffusers
model = dict(
    type='RepFusion',
    teacher=dict(type='DiffusersTeacher', pretrained='google/ddpm-cifar10-32'),
    timestep_policy=dict(type='ReinforcePolicy'),
    task_head=dict(type='PooledMLPHead', num_classes=10))
