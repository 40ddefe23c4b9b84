"""A whole video at a glance: a few small frames of it, evenly spaced, to choose a part from."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from echoreel.common.errors import ClipTooShort
from echoreel.media.images import Frames
from echoreel.media.video_files import Span, probe, read_frames

READ_THROUGH = (
    600  # frames: a shorter video is read once from end to end, in a longer one each frame is sought
)
LOOKS_PER_SECOND = 4.0  # at a video that does not say how long it is
MOST_LOOKS = 480


class Overview(NamedTuple):
    """Frames (T, H, W, 3) uint8, the times (T,) in seconds of each, and the whole length."""

    frames: Frames
    times: NDArray[np.float64]
    duration: float


def overview(path: Path, count: int = 12, height: int = 64) -> Overview:
    """At most `count` frames, `height` pixels high, of the whole video. Raises VideoError's family."""
    info = probe(path)
    size = height, max(2, round(info.width * height / info.height))
    if not info.duration:
        clip = read_frames(path, Span(fps=LOOKS_PER_SECOND, frames=MOST_LOOKS), size)
        chosen = np.linspace(0, len(clip.frames) - 1, min(count, len(clip.frames))).round().astype(int)
        times = np.arange(len(clip.frames)) / LOOKS_PER_SECOND
        return Overview(clip.frames[chosen], times[chosen], float(times[-1] + 1 / LOOKS_PER_SECOND))
    times = np.arange(count) * info.duration / count
    if info.duration * (info.fps or 25) <= READ_THROUGH:
        frames = read_frames(path, Span(fps=count / info.duration, frames=count), size).frames
    else:
        frames = _sought(path, times, size)
    return Overview(frames, times[: len(frames)], info.duration)


def _sought(path: Path, times: NDArray[np.float64], size: tuple[int, int]) -> Frames:
    found: list[Frames] = []
    for time in times:
        try:
            found.append(read_frames(path, Span(start=float(time), fps=1.0, frames=1), size).frames)
        except ClipTooShort:  # it ends earlier than it says
            break
    return np.concatenate(found)
