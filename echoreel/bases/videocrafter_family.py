"""VideoCrafter 2 (text to video) and VideoCrafter 1 (image to video) as bases: one U-Net, one family."""

from dataclasses import replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from echoreel.bases.family import Condition
from echoreel.bases.frame_autoencoder import decode_frames
from echoreel.bases.ports.videocrafter_pipelines import VideoCrafterImagePipeline
from echoreel.bases.ports.videocrafter_unet import VideoCrafterUNet
from echoreel.bases.unet_families import BLOCKS, LVDM


def _shows_image(pipe: Any) -> bool:
    return isinstance(pipe, VideoCrafterImagePipeline)


def _condition(pipe: Any, latents_BCTHW: Tensor) -> dict[str, Tensor]:
    """For image to video, the first frame's context tokens."""
    if not _shows_image(pipe):
        return {}
    frames = rearrange(decode_frames(pipe, latents_BCTHW[:, :, :1]), "b c 1 h w -> b c h w")
    return {"image_tokens": pipe.encode_image(frames.clamp(-1, 1))}


def _predict(
    denoiser: Any, noisy_BCTHW: Tensor, timesteps: Tensor, captions_BLD: Tensor, condition: Condition
) -> Tensor:
    context = captions_BLD
    if "image_tokens" in condition:
        context = torch.cat([context, condition["image_tokens"].to(context)], dim=1)
    prediction: Tensor = denoiser(noisy_BCTHW, timesteps, encoder_hidden_states=context).sample
    return prediction


VIDEOCRAFTER = replace(
    LVDM,
    name="VideoCrafter",
    denoiser=VideoCrafterUNet,
    pipelines=("VideoCrafterPipeline", "VideoCrafterImagePipeline"),
    sites=r"transformer_in|((down|up)_blocks\.\d+|mid_block)\.temp_attentions\.\d+",
    width="proj_in",
    layout="(b t) c h w",
    output=0,
    predict=_predict,
    condition=_condition,
    image=_shows_image,
    checkpoints=BLOCKS,
)
