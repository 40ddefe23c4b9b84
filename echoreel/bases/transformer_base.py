"""What diffusion transformers share: every block is a site, after all of it."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from echoreel.bases.base import Base

STEPS = 1000  # of a flow's timesteps, from the clip to noise alone


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
    def needs_image(self) -> bool:
        return "ImageToVideo" in type(self.pipe).__name__

    def encode_video(self, pixels_BCTHW: Tensor) -> Tensor:
        pixels_BCTHW = whole_steps(pixels_BCTHW, self.frames_per_place)
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


def mean_and_deviation(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Of an autoencoder's latents by channel, (C, 1, 1, 1) as `like` is; 0 and 1 where it does not say."""
    found = [getattr(vae.config, name, None) for name in ("latents_mean", "latents_std")]
    if None in found:
        return like.new_zeros(()), like.new_ones(())
    mean, std = (rearrange(torch.tensor(x).to(like), "c -> c 1 1 1") for x in found)
    return mean, std


def encode_normalised(vae: Any, pixels_BCTHW: Tensor) -> Tensor:
    """Latents of whole steps of frames, by channel around 0 and about 1 wide."""
    mean, std = mean_and_deviation(vae, pixels_BCTHW)
    latents: Tensor = (vae.encode(pixels_BCTHW).latent_dist.mode() - mean) / std
    return latents


def decode_normalised(vae: Any, latents_BCTHW: Tensor) -> Tensor:
    """Pixels of such latents."""
    mean, std = mean_and_deviation(vae, latents_BCTHW)
    pixels: Tensor = vae.decode(latents_BCTHW * std + mean).sample
    return pixels


def with_first_frame(noisy: Tensor, first: Tensor | None) -> Tensor:
    """Noisy latents (B, C, T, h, w) with a clean first frame (B, C, 1, h, w) in its place, if given."""
    return noisy if first is None else torch.cat([first.to(noisy), noisy[:, :, 1:]], dim=2)


def known_first_frame(prediction: Tensor, noisy: Tensor, timesteps: Tensor, first: Tensor | None) -> Tensor:
    """A flow's prediction; of a first frame that was given, what is known: the base is not asked."""
    if first is None:
        return prediction
    level = rearrange(timesteps.to(noisy) / STEPS, "b -> b 1 1 1 1").clamp(min=1 / STEPS)
    return torch.cat([(noisy[:, :, :1] - first.to(noisy)) / level, prediction[:, :, 1:]], dim=2)
