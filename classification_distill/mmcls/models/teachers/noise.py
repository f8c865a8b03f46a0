"""How much of the image and how much noise there is in x_t, for each timestep of a diffusion process."""

import torch
from torch import Tensor

from ...errors import UnusableInputError


def ddpm_levels(scheduler) -> Tensor:
    """The factors of x_0 and of the noise in x_t, ``(2, T)``, float32, of a DDPM's discrete timesteps.

    "Denoising Diffusion Probabilistic Models" (Ho et al., 2020), Eq. 4. A scheduler's own ``add_noise`` is no
    substitute: those of some samplers do not scale x_0, or look timesteps up in the order of sampling.

    Raises:
        UnusableInputError: When the scheduler is not one of a DDPM.
    """
    alphas = getattr(scheduler, 'alphas_cumprod', None)
    if alphas is None or is_flow(scheduler):
        raise UnusableInputError(
            f'The pipeline is not of a DDPM: its {type(scheduler).__name__} knows no noise level for each of T '
            'discrete timesteps. Consistency, score-SDE, EDM and flow matching models are not read by this teacher.'
        )
    alphas = torch.as_tensor(alphas, dtype=torch.float32)
    return torch.stack([alphas.sqrt(), (1 - alphas).sqrt()])


def is_flow(scheduler) -> bool:
    """Whether a scheduler is one of flow matching, by itself or by its settings."""
    config = scheduler.config
    by_settings = config.get('prediction_type') == 'flow_prediction' or config.get('use_flow_sigmas')
    return bool(by_settings) or type(scheduler).__name__.startswith('FlowMatch')


def flow_levels(num_timesteps: int) -> Tensor:
    """The factors of x_0 and of the noise in x_t, ``(2, T)``, where both are mixed by sigma = t / T.

    "Flow Matching for Generative Modeling" (Lipman et al., ICLR 2023), with optimal transport paths. A sampler's
    ``shift`` only chooses which sigmas it visits: it does not enter.
    """
    sigma = torch.arange(num_timesteps) / num_timesteps
    return torch.stack([1 - sigma, sigma])
