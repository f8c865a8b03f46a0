"""SiT and REPA: diffusion transformers trained by flow matching, from their published checkpoints."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...errors import UnusableInputError
from ...weights import load_checkpoint
from .dit_teacher import LatentTransformerTeacher, as_trained
from .noise import flow_levels
from .pipelines import load_autoencoder

NUM_TIMESTEPS = 1000
_HEADS = {1152: 16, 1024: 16, 768: 12, 384: 6}  # of XL, L, B and S, by their width
# Of the published names to diffusers'; the embedders are in every block there.
_OUTER = {
    'x_embedder.proj': 'pos_embed.proj',
    'final_layer.adaLN_modulation.1': 'proj_out_1',
    'final_layer.linear': 'proj_out_2',
}
_EMBEDDERS = {
    't_embedder.mlp.0': 'timestep_embedder.linear_1',
    't_embedder.mlp.2': 'timestep_embedder.linear_2',
    'y_embedder.embedding_table': 'class_embedder.embedding_table',
}
_INNER = {
    'adaLN_modulation.1': 'norm1.linear',
    'attn.proj': 'attn1.to_out.0',
    'mlp.fc1': 'ff.net.0.proj',
    'mlp.fc2': 'ff.net.2',
}


@MODELS.register_module()
class SiTTeacher(LatentTransformerTeacher):
    """A ``.pt`` checkpoint of SiT or of REPA, which is data: nothing in it is run.

    "SiT: Exploring Flow and Diffusion-based Generative Models with Scalable Interpolant Transformers" (Ma et al., ECCV
    2024); "Representation Alignment for Generation" (Yu et al., ICLR 2025). t in [0, T) is the noise level sigma
    = t / T; REPA's network is told sigma, SiT's 1 - sigma.

    Args:
        checkpoint: The ``.pt`` file: weights, or a training's ``{'model', 'ema', ...}``, of which the average is read.
        autoencoder: Hub id, or folder, of the ``AutoencoderKL`` on whose latents it was trained, or of an
            ``AutoencoderTiny`` that stands in for it, ``madebyollin/taesd``.
        layers: Names of the transformer's modules to read; by default the last block of its first half, of REPA the
            eighth, to which its representation was aligned.
        num_heads: Heads of the attention, where the model is none of S, B, L and XL.
        options: As in ``BaseTeacher``: ``class_labels``, ``noise``, ``dtype``, ``compile``.

    Raises:
        FileNotFoundError: When there is no such file, or no autoencoder.
        ValueError: When it is damaged, holds more than data, or is of another model.
    """

    def __init__(
        self,
        checkpoint: str,
        autoencoder: str = 'stabilityai/sd-vae-ft-ema',
        layers: Sequence[str] | None = None,
        num_heads: int | None = None,
        **options,
    ):
        state = load_checkpoint(checkpoint, mmap=True)
        state = state.get('ema', state)
        if not is_sit(state):
            raise UnusableInputError(f'{checkpoint} is no SiT: it has no {", ".join(sorted(_OUTER))}.')
        network = convert(state, num_heads)
        # SiT predicts the velocity and, unused, a variance; REPA the velocity alone.
        self.is_repa = network.config.out_channels == network.config.in_channels
        depth = len(network.transformer_blocks)
        middle = min(8, depth) if self.is_repa else depth // 2
        super().__init__(
            as_trained(network),
            load_autoencoder(autoencoder),
            None,
            layers or [f'transformer_blocks.{middle - 1}'],
            **options,
        )

    def noise_levels(self, scheduler) -> Tensor:
        return flow_levels(NUM_TIMESTEPS)

    def denoise(self, network: Callable, x: Tensor, t: Tensor, class_labels: Tensor | None) -> None:
        sigma = t.float() / NUM_TIMESTEPS
        network(x, timestep=sigma if self.is_repa else 1 - sigma, class_labels=class_labels)


def is_sit(state: Mapping[str, object]) -> bool:
    """Whether a state dict has the layout of DiT's, SiT's and REPA's code."""
    return all(f'{name}.weight' in state for name in _OUTER)


def convert(state: Mapping[str, Tensor], num_heads: int | None = None) -> nn.Module:
    """The ``DiTTransformer2DModel`` of a published state dict; REPA's projectors are left out.

    Raises:
        UnusableInputError: For a model of which diffusers has no such block, or whose heads are not known.
    """
    import accelerate
    import diffusers

    depth = 1 + max(int(name.split('.')[1]) for name in state if name.startswith('blocks.'))
    width, channels, patch, _ = state['x_embedder.proj.weight'].shape
    if any('.q_norm' in name for name in state):
        raise UnusableInputError(
            'The checkpoint normalises queries and keys (qk_norm), which DiT in diffusers does not.'
        )
    if not (num_heads or width in _HEADS):
        raise UnusableInputError(f'The checkpoint is {width} wide, none of S, B, L and XL: give num_heads.')
    heads = num_heads or _HEADS[width]
    with accelerate.init_empty_weights(include_buffers=False):
        network = diffusers.DiTTransformer2DModel(
            num_attention_heads=heads,
            attention_head_dim=width // heads,
            in_channels=channels,
            out_channels=state['final_layer.linear.weight'].shape[0] // patch**2,
            num_layers=depth,
            sample_size=patch * math.isqrt(state['pos_embed'].shape[1]),
            patch_size=patch,
            attention_bias=True,
            norm_eps=1e-6,
            num_embeds_ada_norm=state['y_embedder.embedding_table.weight'].shape[0] - 1,
        )
    if not torch.allclose(network.pos_embed.pos_embed, state['pos_embed'].float(), atol=1e-4):
        raise UnusableInputError("The checkpoint's table of positions is not the fixed one of sines and cosines.")
    network.load_state_dict(_renamed(state, depth), strict=True, assign=True)
    return network


def _renamed(state: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        module, _, kind = name.rpartition('.')
        if module in _OUTER:
            renamed[f'{_OUTER[module]}.{kind}'] = tensor
        elif module in _EMBEDDERS:
            for block in range(depth):
                renamed[f'transformer_blocks.{block}.norm1.emb.{_EMBEDDERS[module]}.{kind}'] = tensor
        elif name.startswith('blocks.'):
            _, block, inner = module.split('.', 2)
            if inner == 'attn.qkv':
                for part, piece in zip('qkv', tensor.chunk(3), strict=True):
                    renamed[f'transformer_blocks.{block}.attn1.to_{part}.{kind}'] = piece
            else:
                renamed[f'transformer_blocks.{block}.{_INNER[inner]}.{kind}'] = tensor
    return renamed
