"""U-Net bases with temporal transformer blocks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers import UNetMotionModel
from einops import rearrange
from torch import Tensor, nn

from echoreel.backbones.family import Family
from echoreel.backbones.lvdm import LVDMUNet

FRAMES_AT_ONCE = 16  # through the autoencoder, to bound memory


def encode_frames(pipe: Any, pixels_BCTHW: Tensor) -> Tensor:
    """Per-frame latents of an image autoencoder, times its scaling factor; the mean, so no chance."""
    frames = rearrange(pixels_BCTHW, "b c t h w -> (b t) c h w")
    parts = [pipe.vae.encode(part).latent_dist.mode() for part in torch.split(frames, FRAMES_AT_ONCE)]
    latents = torch.cat(parts) * pipe.vae.config.scaling_factor
    return _videos(latents, pixels_BCTHW.shape[0])


def decode_frames(pipe: Any, latents_BCTHW: Tensor) -> Tensor:
    frames = rearrange(latents_BCTHW, "b c t h w -> (b t) c h w") / pipe.vae.config.scaling_factor
    pixels = torch.cat([pipe.vae.decode(part).sample for part in torch.split(frames, FRAMES_AT_ONCE)])
    return _videos(pixels, latents_BCTHW.shape[0])


def _videos(frames: Tensor, batch: int) -> Tensor:
    return rearrange(frames, "(b t) c h w -> b c t h w", b=batch)


def _encode_captions(pipe: Any, captions: Sequence[str]) -> Tensor:
    tokens: Tensor = pipe.encode_prompt(
        list(captions), pipe._execution_device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )[0]
    return tokens


def _predict(denoiser: nn.Module, noisy_BCTHW: Tensor, timesteps: Tensor, captions_BLD: Tensor) -> Tensor:
    """UNetMotionModel wants the captions of every frame."""
    captions = captions_BLD.repeat_interleave(noisy_BCTHW.shape[2], dim=0)
    prediction: Tensor = denoiser(noisy_BCTHW, timesteps, captions).sample
    return prediction


def _predict_lvdm(
    denoiser: nn.Module, noisy_BCTHW: Tensor, timesteps: Tensor, captions_BLD: Tensor
) -> Tensor:
    prediction: Tensor = denoiser(noisy_BCTHW, timesteps, captions_BLD).sample
    return prediction


def _sample_size(denoiser: Any) -> tuple[int, int] | None:
    size: int | tuple[int, int] | None = denoiser.config.sample_size
    return (size, size) if isinstance(size, int) else size


def _cross_attention_dim(denoiser: Any) -> int:
    width: int | tuple[int, ...] = denoiser.config.cross_attention_dim
    return width if isinstance(width, int) else width[0]


ANIMATEDIFF = Family(
    name="AnimateDiff",
    denoiser=UNetMotionModel,
    component="unet",
    pipelines=("AnimateDiffPipeline",),
    sites=r"((down|up)_blocks\.\d+|mid_block)\.motion_modules\.\d+",
    width="proj_in",
    layout="(b t) c h w",
    output=None,
    sample="sample",
    timestep="timestep",
    sample_layout="b c t h w",
    latent_channels=lambda denoiser: int(denoiser.config.in_channels),  # type: ignore[union-attr, arg-type]
    caption_width=_cross_attention_dim,
    latent_size=_sample_size,
    pixels_per_place=lambda pipe: int(pipe.vae_scale_factor),
    guided=lambda pipe: bool(getattr(pipe, "do_classifier_free_guidance", False)),
    encode_video=encode_frames,
    decode_video=decode_frames,
    encode_captions=_encode_captions,
    predict=_predict,
)

LVDM = replace(
    ANIMATEDIFF,
    name="LVDM",
    denoiser=LVDMUNet,
    pipelines=("LVDMPipeline",),
    sites=r"((down|up)\.\d+|middle)\.transformer\.blocks\.\d+\.attentions",
    width="space.query",
    layout="b t (h w) c",
    predict=_predict_lvdm,
)
