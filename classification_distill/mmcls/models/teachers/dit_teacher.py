"""Diffusion transformers."""

from collections.abc import Callable, Sequence

from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .latent_teacher import LatentDiffusionTeacher
from .pipelines import load_pipeline


class LatentTransformerTeacher(LatentDiffusionTeacher):
    """A ``DiTTransformer2DModel``, told a class of its table, which ends with the one that stands for no class."""

    last_layer = 'proj_out_2'

    def class_embeddings(self, network: nn.Module) -> tuple[list[nn.Embedding], int]:
        # diffusers gives each block a table of its own.
        tables = [block.norm1.emb.class_embedder.embedding_table for block in network.transformer_blocks]
        return tables, network.config.num_embeds_ada_norm


@MODELS.register_module()
class DiTTeacher(LatentTransformerTeacher):
    """A diffusion transformer on latents, such as ``facebook/DiT-XL-2-256``.

    "Scalable Diffusion Models with Transformers" (Peebles and Xie, ICCV 2023). Its table of classes ends with the one
    that stands for no class, which ``class_labels=1000`` tells.

    Args:
        pretrained: Hub id, or the folder of a saved ``DiTPipeline``.
        layers: Names of the transformer's modules to read; tokens are folded back to a map.
        options: As in ``BaseTeacher``: ``class_labels``, ``noise``, ``dtype``, ``compile``.

    Raises:
        FileNotFoundError: When the pipeline cannot be found or fetched.
        ValueError: When it is no DiT, or as in ``BaseTeacher``.
    """

    def __init__(self, pretrained: str, layers: Sequence[str] = ('transformer_blocks.13',), **options):
        networks = {'transformer': ('DiTTransformer2DModel', 'Transformer2DModel'), 'vae': 'AutoencoderKL'}
        pipeline = load_pipeline(pretrained, 'DiTPipeline', networks)
        super().__init__(as_trained(pipeline.transformer), pipeline.vae, pipeline.scheduler, layers, **options)

    def denoise(self, network: Callable, x: Tensor, t: Tensor, class_labels: Tensor | None) -> None:
        network(x, timestep=t, class_labels=class_labels)


def as_trained(network: nn.Module) -> nn.Module:
    """The transformer, told the time as it was in its training.

    DiT and SiT were trained with frequencies 10000^(-i / half); diffusers (0.42) computes 10000^(-i / (half - 1)),
    which moves the embedding by a third of its length at t = 261, and by all of it at t = 999.
    """
    for block in network.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    return network
