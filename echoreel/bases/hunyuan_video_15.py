"""HunyuanVideo 1.5: guidance is a part of the pipeline, with a call for each branch."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import HunyuanVideo15Transformer3DModel
from torch import Tensor, nn

from echoreel.bases.base import Condition
from echoreel.bases.transformer_base import TransformerBase
from echoreel.common.errors import BaseUnsupported


class HunyuanVideo15(TransformerBase):
    name = "HunyuanVideo 1.5"
    denoiser_type = HunyuanVideo15Transformer3DModel
    width = "attn.to_q"
    output = 0
    caption_field = "text_embed_dim"
    negative = ("pred_uncond",)
    translated = {"guidance_scale": None}  # noqa: RUF012 - declared a ClassVar above
    fps = 24.0
    encodes_alone = False

    def call_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Its call takes no guidance."""
        scale = arguments.pop("guidance_scale", None)
        if scale is not None and scale != self.pipe.guider.guidance_scale:
            self.pipe.guider = self.pipe.guider.new(guidance_scale=scale)
        return arguments

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """Of its language model; the second encoder reads only words in quotation marks, to be written."""
        tokens, mask, *_ = self.pipe.encode_prompt([*captions], batch_size=len(captions))
        found: Tensor = tokens * mask[..., None]
        return found

    def condition(self, latents_BCTHW: Tensor) -> dict[str, Tensor]:
        if self.needs_image:
            raise BaseUnsupported(
                f"cannot train with a {type(self.pipe).__name__}; train with HunyuanVideo15Pipeline, whose "
                "adapter fits it as well"
            )
        return {}

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        """Without image and without words to be written: one token of each, masked."""
        batch, config, latents = noisy.shape[0], self.denoiser.config, noisy
        nothing = latents.new_zeros(batch, config.in_channels - latents.shape[1], *latents.shape[2:])
        prediction: Tensor = denoiser(
            hidden_states=torch.cat([latents, nothing], dim=1),
            timestep=timesteps.to(latents.dtype),
            encoder_hidden_states=captions,
            encoder_attention_mask=(captions != 0).any(-1),
            encoder_hidden_states_2=captions.new_zeros(batch, 1, config.text_embed_2_dim),
            encoder_attention_mask_2=captions.new_zeros(batch, 1, dtype=torch.bool),
            image_embeds=captions.new_zeros(batch, 1, config.image_embed_dim),
        ).sample
        return prediction
