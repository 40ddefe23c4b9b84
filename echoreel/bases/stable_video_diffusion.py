"""Stable Video Diffusion: a first frame, and no text at all."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import UNetSpatioTemporalConditionModel
from einops import rearrange, repeat
from torch import Tensor, nn

from echoreel.bases.base import Condition
from echoreel.bases.unet_base import UNetBase


class StableVideoDiffusion(UNetBase):
    name = "Stable Video Diffusion"
    denoiser_type = UNetSpatioTemporalConditionModel
    sites = r"((down|up)_blocks\.\d+|mid_block)\.attentions\.\d+"
    output = 0
    axes = "b t c h w"
    translated = {"guidance_scale": "max_guidance_scale"}  # noqa: RUF012 - declared a ClassVar above
    needs_image = True
    reads_text = False
    fps = 7.0

    def shared(self, sample: Tensor) -> Tensor:
        """The rest is the image, or nothing."""
        return sample[:, :, : sample.shape[2] // 2]

    def call_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """No text, and guidance that rises from the first frame to the last."""
        texts = ("prompt", "negative_prompt")
        arguments = {name: value for name, value in arguments.items() if name not in texts}
        if (scale := arguments.pop("guidance_scale", None)) is not None:
            arguments |= {"min_guidance_scale": min(1.0, scale), "max_guidance_scale": scale}
        return arguments

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """One zero token."""
        return torch.zeros(len(captions), 1, self.caption_width, dtype=self.pipe.dtype, device=self.device)

    def decode_video(self, latents_BCTHW: Tensor) -> Tensor:
        """Its decoder sees the frames of a video together."""
        videos = latents_BCTHW / self.pipe.vae.config.scaling_factor
        parts = [rearrange(video, "c t h w -> t c h w") for video in videos]
        pixels = [self.pipe.vae.decode(part, num_frames=len(part)).sample for part in parts]
        return rearrange(torch.stack(pixels), "b t c h w -> b c t h w")

    def condition(self, latents_BCTHW: Tensor) -> dict[str, Tensor]:
        """Unscaled latents of the first frame; CLIP's view; frame rate, motion, noise as its pipeline's."""
        ids = torch.tensor([6.0, 127.0, 0.02]).to(latents_BCTHW)
        return {
            "image_latents": latents_BCTHW[:, :, :1] / self.pipe.vae.config.scaling_factor,
            "image_embeddings": self.image_embeddings(latents_BCTHW),
            "added_time_ids": repeat(ids, "n -> b n", b=latents_BCTHW.shape[0]),
        }

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, captions: Tensor, condition: Condition
    ) -> Tensor:
        image = condition["image_latents"].expand_as(noisy)
        sample = rearrange(torch.cat([noisy, image], dim=1), "b c t h w -> b t c h w")
        prediction: Tensor = denoiser(
            sample,
            timesteps,
            encoder_hidden_states=condition["image_embeddings"],
            added_time_ids=condition["added_time_ids"],
        ).sample
        return rearrange(prediction, "b t c h w -> b c t h w")
