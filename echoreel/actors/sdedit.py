"""Clips that a base makes anew from a noisy version of themselves (SDEdit: Meng et al. 2022, section 3)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from echoreel.backbones import base_of
from echoreel.diffusion import NoiseSchedule
from echoreel.feed import noise_like
from echoreel.latents import encode_captions


@torch.no_grad()
def sdedit(
    pipe: Any,
    clips: Tensor,
    captions: Sequence[str],
    level: float,
    steps: int,
    generator: torch.Generator,
    guidance: float = 2.0,
) -> Tensor:
    """Latents (B, C, T, h, w) noised to `level` (0 to 1), then denoised in `steps` DDIM steps, told captions.

    The lower the level, the more of a clip is kept. `pipe`: a text-to-video base with one denoiser.
    """
    base, schedule = base_of(pipe), NoiseSchedule(pipe.scheduler)
    texts = encode_captions(pipe, [""] * len(clips) + list(captions))
    levels = torch.linspace(level, 0, steps + 1)
    noise, clean = noise_like(clips, generator), clips
    for now in levels[:-1]:
        at = now.repeat(len(clips))
        mixed = schedule.mix(clean, noise, at)
        said = base.family.predict(
            base.denoiser, torch.cat([mixed.noisy] * 2), mixed.timesteps.repeat(2), texts, {}
        )
        negative, positive = said.chunk(2)
        clean, noise = schedule.parts(mixed.noisy, negative + guidance * (positive - negative), at)
    return clean
