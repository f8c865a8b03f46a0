"""Which layers the literature found best, at which timestep and for what; of other models nothing was found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A layer that somebody chose by comparison.

    Attributes:
        layer: Its name in diffusers.
        timestep: The t at which it was read; None where that was not fixed.
        model: The model that was read.
        task: What it was best for.
        source: Where that is said.
    """

    layer: str
    timestep: int | None
    model: str
    task: str
    source: str

    def __str__(self) -> str:
        when = '' if self.timestep is None else f' at t = {self.timestep}'
        return f'{self.task}, {self.model}{when} ({self.source})'


_DIFT = 'DIFT, NeurIPS 2023'
_REVELIO = 'Revelio, ICCV 2025'
_GENERIC = 'Generic Diffusion Feature, NeurIPS 2024'
_DITF = 'DiTF, NeurIPS 2025'
_STABLE_DIFFUSION = (
    Finding('up_blocks.1', 25, 'SD 1.5', 'classification', _REVELIO),
    Finding('up_blocks.1', 261, 'SD 2.1', 'correspondence', _DIFT),
    Finding('up_blocks.2', 51, 'SD 2.1', 'tracking', _DIFT),
    Finding('up_blocks.2', 0, 'SD 2.1', 'homography', _DIFT),
)

#: By the pipeline's ``_class_name``, or the teacher's where checkpoints are read.
LITERATURE = {
    'StableDiffusionPipeline': _STABLE_DIFFUSION,
    'StableDiffusionImg2ImgPipeline': _STABLE_DIFFUSION,
    'StableDiffusionXLPipeline': tuple(
        Finding(layer, 50, 'SDXL', 'correspondence and segmentation', _GENERIC)
        for layer in (
            'up_blocks.0.attentions.0.transformer_blocks.7',
            'up_blocks.0.attentions.0.transformer_blocks.5',
            'up_blocks.1.attentions.0.transformer_blocks.0',
        )
    ),
    'FluxPipeline': (
        Finding('single_transformer_blocks.9.norm', 260, 'FLUX.1-dev', 'correspondence', _DITF),
        Finding('single_transformer_blocks.5.norm', 90, 'FLUX.1-dev', 'tracking', _DITF),
    ),
    # guided-diffusion's output blocks 4, 7 and 11.
    'ADMTeacher': (
        Finding('up_blocks.1.attentions.1', 101, 'ADM 256-uncond', 'correspondence', _DIFT),
        Finding('up_blocks.2.attentions.1', 51, 'ADM 256-uncond', 'tracking', _DIFT),
        Finding('up_blocks.3', 41, 'ADM 256-uncond', 'homography', _DIFT),
    ),
    'SiTTeacher': (
        Finding('transformer_blocks.7', None, 'REPA', 'trained to resemble an encoder of images', 'REPA, ICLR 2025'),
    ),
}  # fmt: skip


def found_layers(family: str) -> dict[str, str]:
    """The layers that were found of a family, and what was, in a sentence each."""
    found: dict[str, list[str]] = {}
    for finding in LITERATURE.get(family, ()):
        found.setdefault(finding.layer, []).append(str(finding))
    return {layer: '; '.join(findings) for layer, findings in found.items()}
