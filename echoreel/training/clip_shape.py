"""Frames, rate and size of the clips that a base trains on, unless told otherwise."""

from typing import NamedTuple

from echoreel.bases.base import BaseLike
from echoreel.bases.lookup import base_of
from echoreel.generation.settings import GenerationSettings, resolved

SECONDS = 2.0  # of a clip: most actions show in so long, and a step costs little
FRAMES = 16  # of a base that does not compress time


class ClipShape(NamedTuple):
    """Of a training clip."""

    frames: int
    fps: float
    height: int  # pixels
    width: int


def clip_shape(base: BaseLike, size: tuple[int, int] | None = None) -> ClipShape:
    """What a base of fixed size was trained on; of others half their usual height and width, and two seconds.

    size: (height, width) in pixels, instead; otherwise they fit whole tokens of the denoiser. Raises
    SettingsError for a base that does not say its size.
    """
    base = base_of(base)
    usual = resolved(base, GenerationSettings())
    height, width = size or base.video_size(usual.size)
    fps, step = float(usual.fps or base.fps), base.frames_per_place
    frames = FRAMES if step == 1 else 1 + step * round(SECONDS * fps / step)
    frames = min(frames, usual.num_frames or base.most_frames or frames)
    if size is None and base.native_size is None:
        side = base.pixels_per_place * _patch(base)
        height, width = (max(side, side * round(length / 2 / side)) for length in (height, width))
    return ClipShape(frames, fps, height, width)


def latent_shape(base: BaseLike, shape: ClipShape) -> tuple[int, int, int, int]:
    """Latents (C, T, h, w) that the base's autoencoder makes of such a clip."""
    base = base_of(base)
    side, step = base.pixels_per_place, base.frames_per_place
    return base.latent_channels, -(-(shape.frames - 1) // step) + 1, shape.height // side, shape.width // side


def _patch(base: BaseLike) -> int:
    """Latent places to a side of one token."""
    size = base_of(base).denoiser.config.get("patch_size", 1)
    return int(size if isinstance(size, int) else size[-1])
