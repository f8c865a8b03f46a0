"""Weights that are no numbers."""

import torch
from mmengine.model import is_model_wrapper
from torch import nn


class NonFiniteError(FloatingPointError):
    """Losses, rewards or weights that are infinite or NaN."""


def spoilt_weights(model: nn.Module) -> str:
    """How many parameters are not finite, and the names of three; empty where all are."""
    names = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    return f'{len(names)} tensors of weights are not finite ({", ".join(names[:3])})' if names else ''


def check_weights(runner) -> None:
    """Keep weights that are not finite out of checkpoints, of which the good ones would in time be removed.

    Raises:
        NonFiniteError: On all processes, when a parameter is not finite.
    """
    if problem := spoilt_weights(runner.model.module if is_model_wrapper(runner.model) else runner.model):
        raise NonFiniteError(
            f'No checkpoint is saved at iteration {runner.iter}: {problem}. Earlier ones are as they were. Try a lower '
            'learning rate, or optim_wrapper.clip_grad.max_norm=1.'
        )
