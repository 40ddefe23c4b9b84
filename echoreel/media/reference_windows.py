"""A reference read for a video of known length: the frames that each window of the video reads."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from echoreel.common.errors import SettingsError
from echoreel.media.images import Frames
from echoreel.media.moving_crop import crop_to_motion
from echoreel.media.reference_times import VideoTime, reference_moments
from echoreel.media.reference_video import ReferenceVideo, read_size
from echoreel.media.video_files import MOST_FPS, Span, probe, read_frames

LEAST = 2  # frames that show an action


@dataclass(frozen=True, eq=False)
class TimedReference:
    """Frames of a reference, and for each frame of a video which of them it reads."""

    reference: ReferenceVideo
    video: VideoTime
    frames: Frames  # (M, H, W, 3)
    moments: NDArray[np.float64]  # (M,) seconds from the reference's beginning at which they are on show

    @classmethod
    def read(cls, reference: ReferenceVideo, video: VideoTime) -> Self:
        """Read what the video needs: of a file at the video's frame rate, else of the frames that there are.

        Raises VideoError's family, SettingsError for one that less than two frames of the video read.
        """
        found = _moments(reference, video, (0, video.frames))
        wanted = found[np.isfinite(found)]
        if len(wanted) < LEAST:
            raise SettingsError(
                f"{reference.name}: acts in {len(wanted)} of the video's {video.frames} frames, need {LEAST} "
                "or more; give it a larger part of the video, or play it slower"
            )
        span, source = reference.span, reference.source
        if not reference.first_look or span is None or source is None:
            return cls(reference, video, reference.frames, _own_moments(reference))
        first, last = float(wanted.min()), float(wanted.max())
        step = _step(reference, video)
        asked = Span(start=span.start + first, end=span.start + last + step / 2, fps=1 / step)
        frames = read_frames(source, asked, size=read_size(probe(source))).frames
        if reference.crop is not None:
            frames = crop_to_motion(frames, source.name).frames()
        ticks = np.arange(len(frames), dtype=np.float64) * step
        return cls(reference, video, frames, first + ticks)

    def taken(self) -> ReferenceVideo:
        """The reference with the frames that were read for the video, at their own times."""
        span = self.reference.span
        start = self.reference.timestamps[0] if span is None else span.start
        return replace(self.reference, frames=self.frames, timestamps=start + self.moments, crop=None)

    def beside(self) -> Frames:
        """What is read at each frame of the video, to be shown beside it: (T, H, W, 3), black for nothing."""
        found = _moments(self.reference, self.video, (0, self.video.frames))
        shown = self.frames[self._nearest(np.nan_to_num(found))]
        shown[~np.isfinite(found)] = 0
        return shown

    def window(self, first: int, last: int) -> ReferenceVideo | None:
        """What the video's frames from `first` to before `last` read, one frame for each; its `during` is a
        part of the window. None where less than two of them read anything."""
        found = _moments(self.reference, self.video, (first, last))
        (reads,) = np.nonzero(np.isfinite(found))
        if len(reads) < LEAST:
            return None
        begin, count = int(reads[0]), last - first
        return replace(
            self.reference,
            frames=self.frames[self._nearest(found[reads])],
            fps=self.video.fps,
            timestamps=np.arange(len(reads)) / self.video.fps,
            encoded=(),
            stored=None,
            crop=None,
            span=None,
            first_look=False,
            align="stretch",
            speed=1.0,
            during=(begin / count, (int(reads[-1]) + 1) / count),
        )

    def _nearest(self, moments: NDArray[np.float64]) -> NDArray[np.intp]:
        """Numbers of the frames on show at these moments, whatever their last bits say."""
        return (np.searchsorted(self.moments, moments + 1e-6, "right") - 1).clip(0)


def is_timed(reference: ReferenceVideo) -> bool:
    """Whether its frames depend on the length of the video even where that is made in one window."""
    return reference.align != "stretch"


def _moments(reference: ReferenceVideo, video: VideoTime, window: tuple[int, int]) -> NDArray[np.float64]:
    return reference_moments(
        video, window, reference.seconds, reference.align, reference.speed, reference.during
    )


def _step(reference: ReferenceVideo, video: VideoTime) -> float:
    """Seconds of the reference from one frame of the video to the next."""
    step = reference.speed / video.fps
    if reference.align == "stretch":
        step = reference.seconds / (video.frames * (reference.during[1] - reference.during[0]))
    return max(step, 1 / MOST_FPS)


def _own_moments(reference: ReferenceVideo) -> NDArray[np.float64]:
    """When the frames that it has appear, from its beginning."""
    if reference.span is not None and reference.span.fps is not None:
        return np.arange(len(reference.frames)) / reference.span.fps
    found: NDArray[np.float64] = reference.timestamps - reference.timestamps[0]
    return found
