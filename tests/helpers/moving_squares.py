"""Videos whose motion is known: textured squares on paths over a ground that does not move."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from echoreel.media.images import Frames
from echoreel.media.video_files import Clip

HEIGHT, WIDTH, SQUARE = 128, 160, 32
Path = Callable[[float], tuple[float, float]]  # seconds -> left, top of a square


def texture(height: int, width: int, seed: int, low: int = 0, high: int = 255) -> Frames:
    """Something to see everywhere, from `low` to `high`."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    soft = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1.5)), np.float32)
    soft = (soft - soft.min()) / (soft.max() - soft.min())
    return (low + soft * (high - low)).astype(np.uint8)


GROUND = texture(HEIGHT, WIDTH, 0, 70, 140)


def moving(*paths: Path, frames: int = 16, fps: float = 8, square: int = SQUARE) -> Clip:
    """A textured square on each path."""
    film = np.repeat(GROUND[None], frames, 0)
    for number, path in enumerate(paths):
        face = texture(square, square, number + 1)
        for index in range(frames):
            left, top = (round(place) for place in path(index / fps))
            film[index, top : top + square, left : left + square] = face
    return Clip(film, np.arange(frames) / fps)


def arc(seconds: float) -> tuple[float, float]:
    return 10 + 45 * seconds, 60 - 30 * np.sin(2 * seconds)


def right(seconds: float) -> tuple[float, float]:
    return 10 + 40 * seconds, 48


def rest(seconds: float) -> tuple[float, float]:
    return 10, 48


def noisy(clip: Clip) -> Clip:
    noise = np.random.default_rng(0).normal(0, 4, clip.frames.shape)
    return Clip((clip.frames + noise).clip(0, 255).astype(np.uint8), clip.timestamps)
