"""Frames, rate and size of the clips that a base trains on: one shape, or buckets of several."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from echoreel.bases.base import BaseLike
from echoreel.bases.lookup import base_of
from echoreel.common.errors import SettingsError
from echoreel.generation.settings import GenerationSettings, resolved

ALIKE = 0.1  # of the logarithms of two aspects: nearer ones are the same
ASPECTS = (16 / 9, 4 / 3, 1.0, 3 / 4, 9 / 16)  # width to height, of people's videos
SECONDS = 2.0  # of a clip: most actions show in so long, and a step costs little
FRAMES = 16  # of a base that does not compress time


class ClipShape(NamedTuple):
    """Of a training clip."""

    frames: int
    fps: float
    height: int  # pixels
    width: int

    @property
    def name(self) -> str:
        """Such as "416x240x33": width, height and frames."""
        return f"{self.width}x{self.height}x{self.frames}"


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
        side = _token(base)
        height, width = (max(side, side * round(length / 2 / side)) for length in (height, width))
    return ClipShape(frames, fps, height, width)


def buckets_around(base: BaseLike, shape: ClipShape) -> list[ClipShape]:
    """`shape`, and of as many tokens, or hardly fewer, other aspects; each also half as long."""
    base = base_of(base)
    side, step, frames = _token(base), base.frames_per_place, shape.frames
    half = frames // 2 if step == 1 else 1 + step * round((frames - 1) / 2 / step)
    sizes = [(shape.height, shape.width)]
    for aspect in ASPECTS:
        if abs(math.log(aspect * shape.height / shape.width)) > ALIKE:
            sizes.append(_size(shape.height * shape.width // side**2, aspect, side))
    lengths = dict.fromkeys((frames, min(frames, max(half, base.least_frames))))
    return [ClipShape(length, shape.fps, *size) for size in dict.fromkeys(sizes) for length in lengths]


def bucket_named(base: BaseLike, name: str, fps: float) -> ClipShape:
    """The shape of a name such as "416x240x33". Raises SettingsError unless it is of whole tokens."""
    width, height, frames = map(int, name.split("x"))
    side = _token(base)
    if min(width, height) < side or width % side or height % side:
        fits = [max(side, length // side * side) for length in (width, height)]
        raise SettingsError(
            f"buckets: got {name}, need width and height in steps of this base's {side} pixels; take "
            f"{fits[0]}x{fits[1]}x{frames}"
        )
    return ClipShape(frames, fps, height, width)


def nearest_first(shapes: Sequence[ClipShape], size: tuple[int, int]) -> list[ClipShape]:
    """Buckets in the order in which a clip of this size (height, width) takes the first that it is long
    enough for: of the nearest aspect, the longest, the largest that need not be made of fewer pixels."""

    def order(shape: ClipShape) -> tuple[float, ...]:
        apart = abs(math.log(shape.width / shape.height * size[0] / size[1]))
        enlarged = shape.height > size[0] or shape.width > size[1]
        area = shape.height * shape.width
        return round(apart / ALIKE), -shape.frames, enlarged, area if enlarged else -area, apart

    return sorted(shapes, key=order)


def latent_shape(base: BaseLike, shape: ClipShape) -> tuple[int, int, int, int]:
    """Latents (C, T, h, w) that the base's autoencoder makes of such a clip."""
    base = base_of(base)
    side, step = base.pixels_per_place, base.frames_per_place
    return base.latent_channels, -(-(shape.frames - 1) // step) + 1, shape.height // side, shape.width // side


def _size(tokens: int, aspect: float, side: int) -> tuple[int, int]:
    """Pixels (height, width) of at most so many tokens, as near to the aspect as they allow."""
    shorter = max(1, round(math.sqrt(tokens * min(aspect, 1 / aspect))))
    longer = max(1, tokens // shorter)
    shorter = min(shorter, longer)  # of a square, both are the same
    rows, columns = (shorter, longer) if aspect > 1 else (longer, shorter)
    return rows * side, columns * side


def _token(base: BaseLike) -> int:
    """Pixels to a side of one token; of U-Nets, of a place where they are narrowest. Raises SettingsError."""
    base = base_of(base)
    config = base.denoiser.config
    size = config.get("patch_size", 2 ** (len(config.get("block_out_channels", "1")) - 1))
    side = size if isinstance(size, int) else size[-1]
    if not (isinstance(side, int) and side > 0):
        raise SettingsError(
            f"the base's config has a patch_size of {size!r:.20}, need 1 or more; get its files again"
        )
    return base.pixels_per_place * side
