"""EDM, from NVlabs' pickles and OpenAI's checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmpretrain.registry import MODELS

from ..guided_diffusion.edm import load_nvlabs_edm, load_openai_edm
from .diffusers_teacher import MIDDLE
from .karras_teacher import KarrasTeacher
from .noise import KarrasProcess

NUM_TIMESTEPS = 1000


@MODELS.register_module()
class EDMTeacher(KarrasTeacher):
    """An EDM of ADM's architecture, whose file is data: nothing in it is run.

    "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras et al., NeurIPS 2022). Its levels are
    continuous; t in [0, T), T = 1000, counts those of the paper's sampler (Eq. 5) upwards from sigma = 0.002 to 80, and
    x_t = x_0 + sigma_t times noise.

    Args:
        checkpoint: NVlabs' ``edm-imagenet-64x64-cond-adm.pkl``, or one of OpenAI's ``.pt`` files, such as
            ``edm_imagenet64_ema.pt`` (https://github.com/openai/consistency_models).
        layers: Names of the U-Net's modules to read, by diffusers' names.
        variant: Of a ``.pt`` file of one's own, its training's flags (``ADMVariant``).
        options: As in ``BaseTeacher``: ``class_labels``, ``noise``, ``dtype``, ``compile``.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is damaged, holds more than data, is of another architecture, or as in ``BaseTeacher``.
    """

    def __init__(self, checkpoint: str, layers: Sequence[str] = (MIDDLE,), variant: Mapping | None = None, **options):
        if Path(checkpoint).suffix == '.pkl':
            network, sigma_data = load_nvlabs_edm(checkpoint)
            process = KarrasProcess(NUM_TIMESTEPS, time_factor=0.25, sigma_data=sigma_data)
        else:
            network = load_openai_edm(checkpoint, variant)
            process = KarrasProcess(NUM_TIMESTEPS, time_factor=250)  # as of all models of OpenAI's code
        super().__init__(network, process, layers, **options)
