_base_ = 'sgd_200e.py'

optim_wrapper = dict(optimizer=dict(nesterov=True))
