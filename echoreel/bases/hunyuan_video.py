"""HunyuanVideo: blocks with a stream each for video and text, then blocks with both in one.

Either gives back its video tokens by themselves, so all are alike as sites. Its guidance is distilled: a
number that the denoiser is told.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import HunyuanVideoPipeline, HunyuanVideoTransformer3DModel
from torch import Tensor, nn

from echoreel.bases.base import Base, Condition
from echoreel.bases.transformer_base import TransformerBase
from echoreel.common.errors import BaseUnsupported

UNGUIDED = (
    1000.0  # as its denoiser is told of a guidance scale of 1, at which it predicts the clips' own flow
)


class HunyuanVideo(TransformerBase):
    name = "HunyuanVideo"
    denoiser_type = HunyuanVideoTransformer3DModel
    sites = r"(single_)?transformer_blocks\.\d+"
    width = "attn.to_q"
    output = 0
    caption_field = "text_embed_dim"
    negative = ("uncond",)
    translated = {"negative_prompt": None}  # noqa: RUF012 - declared a ClassVar above
    fps = 24.0

    guidance_calls = "one call"

    def whole(self) -> Base:
        """Raises BaseUnsupported for its image-to-video pipelines too: they read captions with the image."""
        if self.pipe is not None and not isinstance(self.pipe, HunyuanVideoPipeline):
            raise BaseUnsupported(
                f"got a {type(self.pipe).__name__}, need a HunyuanVideoPipeline: others of its family "
                "are not supported"
            )
        return super().whole()

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """Of its language model, and as the last token CLIP's summary, filled up with zeros."""
        tokens, summary, mask = self.pipe.encode_prompt([*captions])
        summary = F.pad(summary, (0, tokens.shape[-1] - summary.shape[-1]))
        return torch.cat([tokens * mask[..., None], summary[:, None].to(tokens)], dim=1)

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        tokens, config = captions[:, :-1], self.denoiser.config
        prediction: Tensor = denoiser(
            hidden_states=noisy,
            timestep=timesteps.to(noisy.dtype),
            encoder_hidden_states=tokens,
            encoder_attention_mask=(tokens != 0).any(-1).to(tokens.dtype),
            pooled_projections=captions[:, -1, : config.pooled_projection_dim],
            guidance=noisy.new_full((noisy.shape[0],), UNGUIDED) if config.guidance_embeds else None,
        ).sample
        return prediction
