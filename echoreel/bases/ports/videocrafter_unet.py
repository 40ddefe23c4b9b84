"""VideoCrafter's U-Nets (Chen et al., arXiv 2310.19512 and 2401.09047) on diffusers' `UNet3DConditionModel`.

Every tensor has its place there but two: the frame rate is a second clock beside the timestep, and in the
image-to-video model the text attentions read the image's tokens too, by keys and values of their own.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401  # by this diffusers knows how to load
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel, UNet3DConditionOutput
from einops import rearrange
from torch import Tensor, nn

from echoreel.common.errors import BaseUnsupported

TEXT_ATTENTION = ".attentions."  # in the path of a transformer that reads the text; others are temporal


class Clocks(nn.Module):
    """Embeddings of the timestep and of the frame rate, summed."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.timestep = TimestepEmbedding(width, out_width)
        self.fps = TimestepEmbedding(width, out_width)

    def forward(self, timesteps_BD: Tensor, fps_BD: Tensor) -> Tensor:
        """Sinusoids (B, D) of both: embedding (B, D')."""
        out: Tensor = self.timestep(timesteps_BD) + self.fps(fps_BD)
        return out


class TextAndImageAttention(nn.Module):
    """Attention processor: queries read the text, and by other keys and values the image; both are summed.

    The context is `text_tokens` of the text, then the image's.
    """

    def __init__(self, width: int, context_width: int, text_tokens: int) -> None:
        super().__init__()
        self.text_tokens = text_tokens
        self.to_k_ip = nn.Linear(context_width, width, bias=False)
        self.to_v_ip = nn.Linear(context_width, width, bias=False)

    def forward(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """As diffusers calls processors: hidden states (B, N, D), context (B, L, D') -> (B, N, D)."""
        text, image = encoder_hidden_states.tensor_split((self.text_tokens,), dim=1)

        def heads(x: Tensor) -> Tensor:
            return rearrange(x, "b n (h d) -> b h n d", h=attn.heads)

        queries = heads(attn.to_q(hidden_states))
        found = F.scaled_dot_product_attention(queries, heads(attn.to_k(text)), heads(attn.to_v(text)))
        found = found + F.scaled_dot_product_attention(
            queries, heads(self.to_k_ip(image)), heads(self.to_v_ip(image))
        )
        out: Tensor = attn.to_out[0](rearrange(found, "b h n d -> b n (h d)"))
        return out


class VideoCrafterUNet(UNet3DConditionModel):
    """The U-Net. The defaults are those of VideoCrafter 2; its own videos are 320 x 512 pixels.

    fps: the frame rate that is asked for where a call gives none. text_tokens: how many of the context's
    first tokens are the text's, and all others an image's: 77 for VideoCrafter 1 image to video; 0 for text
    to video, where all are the text's. transformer_layers: of each transformer, all alike when fresh.
    """

    ignore_for_config = [  # noqa: RUF012  # diffusers' own name and form; arguments of the parent, fixed here
        "downsample_padding",
        "mid_block_scale_factor",
        "act_fn",
        "norm_eps",
        "num_attention_heads",
        "time_cond_proj_dim",
    ]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: Sequence[int] | int | None = (40, 64),
        in_channels: int = 4,
        out_channels: int = 4,
        down_block_types: Sequence[str] = (*["CrossAttnDownBlock3D"] * 3, "DownBlock3D"),
        up_block_types: Sequence[str] = ("UpBlock3D", *["CrossAttnUpBlock3D"] * 3),
        block_out_channels: Sequence[int] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        cross_attention_dim: int = 1024,
        attention_head_dim: int = 64,
        fps: int = 28,
        text_tokens: int = 0,
        transformer_layers: int = 1,
    ) -> None:
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=down_block_types,
            up_block_types=up_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            norm_num_groups=norm_num_groups,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=attention_head_dim,
        )
        width = block_out_channels[0]
        self.time_embedding = Clocks(width, 4 * width)  # type: ignore[assignment]
        for transformer in [*self.modules()]:
            if isinstance(transformer, Transformer2DModel | TransformerTemporalModel):  # made with one
                layers = transformer.transformer_blocks
                layers.extend(deepcopy(layers[0]) for _ in range(transformer_layers - 1))
        for path, attention in self.named_modules():
            if text_tokens and TEXT_ATTENTION in path and path.endswith(".attn2"):
                width = attention.to_q.in_features
                attention.set_processor(TextAndImageAttention(width, cross_attention_dim, text_tokens))

    def forward(  # type: ignore[override]
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        fps: Tensor | float | None = None,
        return_dict: bool = True,
    ) -> UNet3DConditionOutput | tuple[Tensor]:
        """Noisy latents (B, C, T, H, W), timesteps (B,) or one for all, context (B, L, D): their noise.

        fps: frames a second (B,), or one for all, or None for the config's. Raises BaseUnsupported when the
        context has no image's tokens behind the text's.
        """
        tokens = self.config["text_tokens"]
        if tokens and encoder_hidden_states.shape[1] <= tokens:
            raise BaseUnsupported(
                f"got a context of {encoder_hidden_states.shape[1]} tokens, need {tokens} of the text and "
                f"then the image's; append those"
            )
        rates = torch.as_tensor(self.config["fps"] if fps is None else fps, device=sample.device)
        output: UNet3DConditionOutput | tuple[Tensor] = super().forward(
            sample,
            timestep,
            encoder_hidden_states,
            timestep_cond=self.time_proj(rates.expand(sample.shape[0])).to(sample.dtype),
            return_dict=return_dict,
        )
        return output
