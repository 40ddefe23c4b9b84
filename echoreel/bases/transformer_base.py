"""What diffusion transformers share: every block is a site, after all of it."""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from echoreel.bases.base import Base


class TransformerBase(Base):
    """A transformer of diffusers, on latents that mostly are compressed in time, too."""

    component = "transformer"
    sites = r"transformer_blocks\.\d+"
    width = "attn1.to_q"
    layout = "b (t h w) c"
    sample = "hidden_states"
    every = 2

    def sizes(self, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
        frames, height, width = arguments[self.sample].shape[2:]
        return frames, height, width

    @property
    def frames_per_latent(self) -> int:
        for name in ("vae_scale_factor_temporal", "vae_temporal_compression_ratio"):
            if hasattr(self.pipe, name):
                return int(getattr(self.pipe, name))
        return 1

    @property
    def needs_image(self) -> bool:
        return "ImageToVideo" in type(self.pipe).__name__

    def encode_video(self, pixels_BCTHW: Tensor) -> Tensor:
        pixels_BCTHW = whole_steps(pixels_BCTHW, self.pipe.vae_scale_factor_temporal)
        vae = self.pipe.vae
        latents: Tensor = vae.encode(pixels_BCTHW).latent_dist.mode() * vae.config.scaling_factor
        return latents

    def decode_video(self, latents_BCTHW: Tensor) -> Tensor:
        pixels: Tensor = self.pipe.vae.decode(latents_BCTHW / self.pipe.vae.config.scaling_factor).sample
        return pixels


def whole_steps(pixels_BCTHW: Tensor, step: int) -> Tensor:
    """The video with its last frame repeated until there are 1 and a multiple of `step` frames: what an
    autoencoder that compresses time reads, without dropping any."""
    return F.pad(pixels_BCTHW, (0, 0, 0, 0, 0, (1 - pixels_BCTHW.shape[2]) % step), mode="replicate")
