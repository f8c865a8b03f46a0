# As ddpm-hrnet_hint.py, at timesteps chosen for landmarks, by the points.
_base_ = 'ddpm-hrnet_hint.py'
work_dir = 'work_dirs/demofaces-hint/ddpm-hrnet_hint_landmarks'

# Errors of heat maps differ less between timesteps than cross-entropies: a smaller bonus for entropy does.
model = dict(
    timestep_policy=dict(_delete_=True, type='ReinforcePolicy', entropy_weight=0.01),
    task_head=dict(type='HeatmapHead', num_keypoints=98))
custom_hooks = [dict(type='TimestepHistogramHook', interval=50)]
