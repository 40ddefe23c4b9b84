"""Clips that a base makes anew from a noisy version of themselves (SDEdit: Meng et al. 2022, section 3)."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from echoreel.bases.base import Base, BaseLike
from echoreel.bases.encoding import encode_captions
from echoreel.bases.lookup import base_of
from echoreel.bases.noise_schedule import NoiseSchedule
from echoreel.common.errors import BaseUnsupported
from echoreel.common.randomness import noise_like
from echoreel.method.adapter import ActionAdapter
from echoreel.method.references import ReferenceSet

GUIDANCE = 2.0  # what the embedded base recommends


def check_base(base: Base) -> None:
    """Raises BaseUnsupported for an image-to-video base and for one with several denoisers."""
    if base.needs_image or len(base.denoisers) > 1:
        got = "an image-to-video base" if base.needs_image else "a base with several denoisers"
        raise BaseUnsupported(
            f"got {got} ({type(base.pipe).__name__}) to regenerate clips; need a text-to-video base with one "
            "denoiser, such as the embedded one"
        )


@torch.no_grad()
def sdedit(
    base: BaseLike,
    clips: Tensor,
    captions: Sequence[str],
    level: float,
    steps: int,
    generator: torch.Generator,
    reading: tuple[ActionAdapter, ReferenceSet | None] | None = None,
) -> Tensor:
    """Latents (B, C, T, h, w) noised to `level` (0 to 1), then denoised in `steps` DDIM steps, told captions.

    The lower the level, the more of a clip is kept. reading: an adapter and the captions' references, which
    the positive branch of guidance reads. Afterwards the adapter is as before. Raises BaseUnsupported as
    `check_base`.
    """
    base = base_of(base)
    check_base(base)
    schedule = NoiseSchedule(base.pipe.scheduler)
    negative_text, text = (encode_captions(base, each) for each in ([""] * len(clips), list(captions)))
    levels = torch.linspace(level, 0, steps + 1)
    noise, clean = noise_like(clips, generator), clips
    for now in levels[:-1]:
        at = now.repeat(len(clips))
        mixed = schedule.mix(clean, noise, at)
        negative = base.predict(base.denoiser, mixed.noisy, mixed.timesteps, negative_text, {})
        with nullcontext() if reading is None else reading[0].reading(base.bare(), reading[1]):
            positive = base.predict(base.denoiser, mixed.noisy, mixed.timesteps, text, {})
        clean, noise = schedule.parts(mixed.noisy, negative + GUIDANCE * (positive - negative), at)
    return clean
