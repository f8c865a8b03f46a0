"""diffusers' U-Net with the two settings that only guided-diffusion's 128 and 512 px models need."""

# diffusers loads a pipeline's component of another library if it finds ModelMixin beside the component's class.
from diffusers import ModelMixin, UNet2DModel  # noqa: F401
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps


class ADMUNet2DModel(UNet2DModel):
    """A ``UNet2DModel`` with a number of attention heads, or a sinusoid, that its first width does not decide.

    Args:
        num_attention_heads: Heads of every attention layer; None leaves ``attention_head_dim`` to decide.
        timestep_channels: Channels of the timestep's sinusoid; None takes ``block_out_channels[0]``.
        unet_config: Arguments of ``UNet2DModel``.
    """

    def __init__(self, num_attention_heads: int | None = None, timestep_channels: int | None = None, **unet_config):
        super().__init__(**unet_config)
        self.register_to_config(num_attention_heads=num_attention_heads, timestep_channels=timestep_channels)
        if timestep_channels is not None:
            embedding_dim = self.time_embedding.linear_2.out_features
            self.time_proj = Timesteps(timestep_channels, self.config.flip_sin_to_cos, self.config.freq_shift)
            self.time_embedding = TimestepEmbedding(timestep_channels, embedding_dim)
        if num_attention_heads is not None:
            for module in self.modules():
                if isinstance(module, Attention):
                    module.heads = num_attention_heads
                    module.scale = (module.inner_dim // num_attention_heads) ** -0.5

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        """What a saved config may hold: diffusers reads it off the signature, which does not repeat UNet2DModel's."""
        return UNet2DModel._get_init_keys(UNet2DModel) | {'num_attention_heads', 'timestep_channels'}
