_base_ = 'ddpm-r18_hint.py'

model = dict(task_head=dict(type='LeastSquaresHead'))
