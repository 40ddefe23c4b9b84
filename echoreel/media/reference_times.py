"""Which moment of a reference each frame of a video reads: the one place that says so, for all bases.

A base makes a video in one or more windows of frames. What a window reads of the reference are frames on show
at `reference_moments` of that window, one for each frame of the video. They are encoded as a clip of their
own, as long as the window. So a token of the base and a token of the reference are at the same place of the
window, and both keep the times that they were trained with, however long video and reference are.
"""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from echoreel.common.errors import SettingsError

Align: TypeAlias = Literal["stretch", "start", "loop", "ping-pong"]
ALIGNMENTS = {  # what they do with the part of the video that the reference acts in, as people read it
    "stretch": "stretched over",
    "start": "once from the start of",
    "loop": "in a loop over",
    "ping-pong": "to and fro over",
}
MOST_SPEED = 100.0


class VideoTime(NamedTuple):
    """How long a video is that is to be made."""

    frames: int
    fps: float  # frames a second


def reference_moments(
    video: VideoTime,
    window: tuple[int, int],
    seconds: float,
    align: Align = "stretch",
    speed: float = 1.0,
    during: tuple[float, float] = (0.0, 1.0),
) -> NDArray[np.float64]:
    """The moment of a reference that each frame of a window reads.

    A frame reads the moment at its own middle. Frames behind the video's end, which a base may make and which
    are cut away, read what the last one reads.

    Args:
        video: all of the video.
        window: its first frame, and the one behind its last.
        seconds: length of the reference.
        align: "stretch" fits all of the reference to its part of the video; the others play it at `speed`:
            "start" once, "loop" again and again, "ping-pong" forwards and backwards in turn.
        speed: seconds of the reference in a second of the video; 1 with "stretch".
        during: the part of the video that the reference acts in, from 0 to 1.

    Returns:
        Seconds from the reference's beginning (frames of the window,); nan where it has nothing to read.
    """
    numbers = np.arange(*window).clip(max=video.frames - 1)
    here = (numbers + 0.5) / video.frames
    since = (here - during[0]) * video.frames / video.fps * speed  # of the reference, since it began
    if align == "stretch":
        moments = (here - during[0]) / (during[1] - during[0]) * seconds
    elif align == "start":
        moments = np.where(since < seconds, since, np.nan)
    elif align == "loop":
        moments = since % seconds
    else:
        there = since % (2 * seconds)
        moments = np.minimum(there, 2 * seconds - there)
    found: NDArray[np.float64] = np.where((here >= during[0]) & (here < during[1]), moments, np.nan)
    return found


def aligned(align: str | None, speed: float | None) -> tuple[Align, float]:
    """How a reference is played, of what was asked for: stretched, or with a speed alone once from the start.

    Raises SettingsError.
    """
    pace = 1.0 if speed is None else speed
    if not 1 / MOST_SPEED <= pace <= MOST_SPEED:
        raise SettingsError(
            f"speed: got {speed}, need {1 / MOST_SPEED:g} to {MOST_SPEED:g}; 1 is as filmed, 2 twice as fast"
        )
    kind = align or ("stretch" if pace == 1 else "start")
    if kind not in ALIGNMENTS:
        raise SettingsError(f"align: got {align!r}, need {', '.join(ALIGNMENTS)}")
    if kind == "stretch" and pace != 1:
        raise SettingsError(
            f"speed: got {pace:g} with align stretch, which sets the speed itself; take start, loop or "
            "ping-pong"
        )
    return kind, pace  # type: ignore[return-value]
