"""How far a generation is, and a look at its video; without torch, for those who only watch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from echoreel.media.images import Frames

Look: TypeAlias = Callable[[], Frames | None]
"""Frames (T, H, W, 3) uint8 of the video as it is now; None where a base shows none."""


def nothing_to_see() -> Frames | None:
    """The look of a base that shows none."""
    return None


@dataclass(frozen=True)
class Progress:
    """How far a generation is: so many steps of a video are done, which is one of several."""

    step: int
    steps: int
    video: int  # from 1
    videos: int
    look: Look = field(default=nothing_to_see, compare=False, repr=False)
    """at the video as it is now; to be called before the next step"""

    @property
    def share(self) -> float:
        """Of the whole work, 0 to 1."""
        return (self.video - 1 + self.step / max(1, self.steps)) / self.videos
