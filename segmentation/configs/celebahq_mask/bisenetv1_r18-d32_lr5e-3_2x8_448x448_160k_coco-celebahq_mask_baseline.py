_base_ = [
    '../_base_/models/bisenetv1_r18-d32.py',
    '../_base_/datasets/celebahq_mask_448x448.py',
    '../_base_/schedules/sgd_160k.py',
    '../_base_/default_runtime.py',
]
