"""CogVideoX: text and video in one sequence, each with its own output."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import CogVideoXTransformer3DModel
from einops import rearrange
from torch import Tensor, nn

from echoreel.bases.base import Condition
from echoreel.bases.transformer_base import TransformerBase


class CogVideoX(TransformerBase):
    name = "CogVideoX"
    denoiser_type = CogVideoXTransformer3DModel
    output = 0
    caption_field = "text_embed_dim"

    def sizes(self, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
        frames, _, height, width = arguments[self.sample].shape[1:]
        return -(-frames // (self.denoiser.config.patch_size_t or 1)), height, width

    @property
    def latent_size(self) -> tuple[int, int] | None:
        return self.denoiser.config.sample_height, self.denoiser.config.sample_width

    @property
    def most_frames(self) -> int | None:
        """Learned places in time end where training ended."""
        config = self.denoiser.config
        return int(config.sample_frames) if config.use_learned_positional_embeddings else None

    def condition(self, latents_BCTHW: Tensor) -> dict[str, Tensor]:
        """Rotary positions, and of a first frame its latents, followed by zeros."""
        told: dict[str, Tensor] = {}
        pipe, config, latents = self.pipe, self.denoiser.config, latents_BCTHW
        if config.in_channels != config.out_channels:
            told["image_latents"] = F.pad(latents[:, :, :1], (0, 0, 0, 0, 0, latents.shape[2] - 1))
            if pipe.vae.config.invert_scale_latents:  # as it was trained
                told["image_latents"] = told["image_latents"] / pipe.vae.config.scaling_factor**2
        if config.use_rotary_positional_embeddings:
            frames = latents.shape[2] + -latents.shape[2] % (config.patch_size_t or 1)
            height, width = (side * pipe.vae_scale_factor_spatial for side in latents.shape[3:])
            told["rope_cos"], told["rope_sin"] = pipe._prepare_rotary_positional_embeddings(
                height, width, frames, latents.device
            )
        if config.ofs_embed_dim is not None:
            told["ofs"] = latents.new_full((1,), 2.0)
        return told

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        """CogVideoX 1.5 takes an even number of frames: further ones go before the first, as in its
        pipeline."""
        more: dict[str, Any] = dict(condition)
        image = more.pop("image_latents", None)
        sample = noisy if image is None else torch.cat([noisy, image.to(noisy)], dim=1)
        extra = -sample.shape[2] % (self.denoiser.config.patch_size_t or 1)
        sample = torch.cat([sample[:, :, :1]] * extra + [sample], dim=2)
        if "rope_cos" in more:
            more["image_rotary_emb"] = (more.pop("rope_cos"), more.pop("rope_sin"))
        prediction: Tensor = denoiser(
            hidden_states=rearrange(sample, "b c t h w -> b t c h w"),
            encoder_hidden_states=captions,
            timestep=timesteps,
            **more,
        ).sample
        return rearrange(prediction[:, extra:], "b t c h w -> b c t h w")
