"""Which frames a base makes at a time: all of a short video at once, a longer one in windows.

With `media.reference_times` this is all that decides which moment of a reference a token of the base reads.
"""

import math
from typing import Literal, NamedTuple, TypeAlias

from echoreel.bases.base import Base, Longer
from echoreel.common.errors import EchoReelError
from echoreel.generation.settings import GenerationSettings
from echoreel.media.reference_times import VideoTime
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.reference_windows import TimedReference, is_timed

Way: TypeAlias = Longer | Literal["at once"]
STRIDES = 2  # of FreeNoise in a window: each frame is in two windows, which diffusers blends
SLOW = 0.35  # of a reference's own speed: slower than a short video of any base stretches two seconds
SHARED = 5  # of latent frames one in so many is shared with the window before: SkyReels' own 17 of 97 frames


class Plan(NamedTuple):
    """How a video is made. windows: the first frame of each, and the one behind its last; the last window may
    end behind the video, and is then cut."""

    way: Way
    video: VideoTime
    windows: tuple[tuple[int, int], ...]

    @property
    def length(self) -> int:
        """Frames of the first window."""
        return self.windows[0][1]

    @property
    def step(self) -> int:
        """Frames from the first window to the next."""
        return self.windows[1][0]

    @property
    def shared(self) -> int:
        """Frames that the second window has in common with the first."""
        return self.length - self.step

    def lines(self) -> list[str]:
        """What is done where it is not all at once, for people."""
        if self.way == "at once":
            return []
        frames, fps = self.video
        made = f"{frames} frames ({frames / fps:.1f} s) in {len(self.windows)} windows of {self.length}"
        return [f"{made}, {HOW[self.way]}"]


HOW = {
    "free noise": "which overlap (FreeNoise)",
    "diffusion forcing": "each from the end of the one before (diffusion forcing)",
    "continued": "each from the last frame of the one before",
}


def taken_for(reference: ReferenceVideo, plan: Plan) -> ReferenceVideo:
    """The reference with the frames that this video needs of it, where these are not those that it has.

    Raises VideoError's family.
    """
    if not reference.first_look or (plan.way == "at once" and not is_timed(reference)):
        return reference
    return TimedReference.read(reference, plan.video).taken()


def too_slow(reference: ReferenceVideo, video: VideoTime) -> list[str]:
    """A sentence for a reference that a longer video stretches until it hardly moves."""
    share = reference.during[1] - reference.during[0]
    pace = reference.seconds / (video.frames / video.fps * share)
    if reference.align != "stretch" or pace > SLOW:
        return []
    return [
        f"{reference.name} plays at {pace:.2g} times its speed, stretched over the video; choose a longer "
        "part, or --align loop"
    ]


def plan_of(base: Base, settings: GenerationSettings) -> Plan:
    """How this base makes a video with these settings, which are without gaps, as `resolved` returns them.

    Raises EchoReelError for more seconds than the base makes at once where it makes no longer videos.
    """
    fps = settings.fps or base.fps
    length = settings.num_frames or 1
    frames = length if settings.seconds is None else max(1, round(settings.seconds * fps))
    if frames <= length or settings.num_frames is None:
        return Plan("at once", VideoTime(length, fps), ((0, length),))
    way, name = base.longer, type(base.pipe).__name__
    if way is None:
        raise EchoReelError(
            f"seconds: got {settings.seconds:g}; {name} makes {length} frames ({length / fps:.2g} s) at once "
            "and cannot go on from there; ask for less, for more --frames, or take an image-to-video base, "
            "AnimateDiff, or SkyReels V2 with diffusion forcing"
        )
    least = 1 + base.frames_per_place
    length = 1 + (length - 1) // (least - 1) * (least - 1)  # what it makes of so many
    if length < least:
        raise EchoReelError(f"frames: got a window of {length}, need {least} or more; leave it out")
    windows = {"free noise": _sliding, "diffusion forcing": _forced, "continued": _continued}[way]
    return Plan(way, VideoTime(frames, fps), windows(base, frames, length))


def _sliding(base: Base, frames: int, length: int) -> tuple[tuple[int, int], ...]:
    """As diffusers' FreeNoise has them."""
    stride = max(1, length // STRIDES)
    firsts = [*range(0, frames - length + 1, stride)]
    if firsts[-1] + length < frames:
        firsts.append(frames - length)
    return tuple((first, first + length) for first in firsts)


def _forced(base: Base, frames: int, length: int) -> tuple[tuple[int, int], ...]:
    """As diffusers' SkyReels V2 has them: in latent frames, of which the first of a window stand for those
    made before."""
    step = base.frames_per_place
    wanted, most = 1 + math.ceil((frames - 1) / step), 1 + (length - 1) // step
    shared = max(1, most // SHARED)
    windows, end = [(0, length)], most
    while end < wanted:
        count = min(wanted - end + shared, most)
        end += count - shared
        last = 1 + (end - 1) * step
        windows.append((last - 1 - (count - 1) * step, last))
    return tuple(windows)


def _continued(base: Base, frames: int, length: int) -> tuple[tuple[int, int], ...]:
    """Each window but the first begins with the last frame of the one before."""
    count = math.ceil((frames - 1) / (length - 1))
    return tuple((number * (length - 1), number * (length - 1) + length) for number in range(count))
