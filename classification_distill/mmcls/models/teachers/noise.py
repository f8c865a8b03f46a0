"""How much of the image and how much noise there is in x_t, for each timestep of a diffusion process."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class KarrasProcess:
    """Noise levels that grow from sigma_min to sigma_max, and what a network is told of them.

    "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras et al., NeurIPS 2022). x_t = x_0
    + sigma_t times noise, of which the network is given c_in x_t, and as time a multiple of ln sigma_t.

    Attributes:
        num_timesteps: T.
        time_factor: What ln sigma is multiplied by.
        sigma_data: Standard deviation of the images, with which c_in scales x_t to variance 1.
    """

    num_timesteps: int
    time_factor: float
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    sigma_data: float = 0.5

    def levels(self) -> Tensor:
        """The factors of x_0 and of the noise in x_t, ``(2, T)``: Eq. 5, from the least noise."""
        ramp = torch.linspace(0, 1, self.num_timesteps, dtype=torch.float64)
        low, high = (sigma ** (1 / self.rho) for sigma in (self.sigma_min, self.sigma_max))
        sigma = ((low + ramp * (high - low)) ** self.rho).float()
        return torch.stack([torch.ones_like(sigma), sigma])

    def precondition(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """What the network is given for ``x (N, C, h, w)`` at levels ``sigma (N,)``: c_in x, and the time ``(N,)``."""
        scale = (sigma.square() + self.sigma_data**2).rsqrt().view(-1, 1, 1, 1)
        return (scale * x).to(x.dtype), self.time_factor * sigma.log()
