# https://huggingface.co/google/ddpm-ema-celebahq-256; fetched by diffusers
model = dict(
    type='RepFusion',
    teacher=dict(type='DiffusersTeacher', pretrained='google/ddpm-ema-celebahq-256'),
    timestep_policy=dict(type='FixedPolicy', timestep=0))
