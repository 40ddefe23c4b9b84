"""Videos through an image autoencoder, frame by frame."""

import torch
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor

FRAMES_AT_ONCE = 16  # through the autoencoder, to bound memory


def encode_frames(vae: ModelMixin, pixels_BCTHW: Tensor) -> Tensor:
    """Per-frame latents of an image autoencoder, times its scaling factor; the mean, so no chance."""
    frames = rearrange(pixels_BCTHW, "b c t h w -> (b t) c h w")
    parts = [vae.encode(part).latent_dist.mode() for part in torch.split(frames, FRAMES_AT_ONCE)]
    latents = torch.cat(parts) * vae.config.scaling_factor
    return _videos(latents, pixels_BCTHW.shape[0])


def decode_frames(vae: ModelMixin, latents_BCTHW: Tensor) -> Tensor:
    frames = rearrange(latents_BCTHW, "b c t h w -> (b t) c h w") / vae.config.scaling_factor
    pixels = torch.cat([vae.decode(part).sample for part in torch.split(frames, FRAMES_AT_ONCE)])
    return _videos(pixels, latents_BCTHW.shape[0])


def _videos(frames: Tensor, batch: int) -> Tensor:
    return rearrange(frames, "(b t) c h w -> b c t h w", b=batch)
