"""LTX-Video: the transformer takes packed tokens, and is told how they lie."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import LTXVideoTransformer3DModel
from einops import rearrange
from torch import Tensor, nn

from echoreel.bases.base import Condition
from echoreel.bases.transformer_base import TransformerBase, whole_steps

ROPE = (8 / 25, 32, 32)  # of its autoencoder, at the frame rate that its pipeline takes unless told


class LTXVideo(TransformerBase):
    name = "LTX-Video"
    denoiser_type: ClassVar[type[object]] = LTXVideoTransformer3DModel
    channels_field = "in_channels"
    caption_field = "caption_channels"
    pixels_field = "vae_spatial_compression_ratio"
    frames_field = "vae_temporal_compression_ratio"
    fps = 25.0

    def sizes(self, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
        return arguments["num_frames"], arguments["height"], arguments["width"]

    def encode_video(self, pixels_BCTHW: Tensor) -> Tensor:
        pipe, vae = self.pipe, self.pipe.vae
        pixels_BCTHW = whole_steps(pixels_BCTHW, self.frames_per_place)
        latents = vae.encode(pixels_BCTHW).latent_dist.mode()
        scale = vae.config.scaling_factor
        normal: Tensor = pipe._normalize_latents(latents, vae.latents_mean, vae.latents_std, scale)
        return normal

    def decode_video(self, latents_BCTHW: Tensor) -> Tensor:
        vae = self.pipe.vae
        mean, std = (
            rearrange(x.to(latents_BCTHW), "c -> c 1 1 1") for x in (vae.latents_mean, vae.latents_std)
        )
        latents = latents_BCTHW * std / vae.config.scaling_factor + mean
        clean = latents.new_zeros(latents.shape[0]) if vae.config.timestep_conditioning else None
        pixels: Tensor = vae.decode(latents, clean).sample
        return pixels

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        tokens, mask, *_ = self.pipe.encode_prompt([*captions], do_classifier_free_guidance=False)
        found: Tensor = tokens * mask[..., None]
        return found

    def condition(self, latents_BCTHW: Tensor) -> dict[str, Tensor]:
        """Seconds and pixels of a latent's place, which the pipeline tells at 25 frames a second."""
        side = self.pixels_per_place
        return {"rope": torch.tensor([self.frames_per_place / 25, side, side])}

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        frames, height, width = noisy.shape[2:]
        rope = condition["rope"].tolist() if "rope" in condition else ROPE
        prediction: Tensor = denoiser(
            hidden_states=rearrange(noisy, "b c t h w -> b (t h w) c"),
            encoder_hidden_states=captions,
            timestep=timesteps,
            encoder_attention_mask=(captions != 0).any(-1).long(),
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=tuple(rope),
        ).sample
        return rearrange(prediction, "b (t h w) c -> b c t h w", t=frames, h=height)
