"""Reference videos: which frames of a file show the action, and how strongly they count."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from echoreel.common.errors import ClipTooShort, SettingsError
from echoreel.common.text import checked_text, decoded, one_line
from echoreel.media.images import Frames, contact_sheet
from echoreel.media.moving_crop import Crop, crop_to_motion
from echoreel.media.video_files import MOST_FPS, Span, VideoInfo, probe, read_frames

DEFAULT_FPS = 8.0  # frames a second taken from a file, when nothing else is asked
DEFAULT_FRAMES = 16  # at most
LONGEST_SIDE = 1024  # pixels; larger videos are read smaller, since no base takes larger references
CROPS = ("middle", "moving")
CropKind: TypeAlias = Literal["middle", "moving"]
MOST_STRENGTH = 10.0
MOST_SECONDS = 1e6  # of a start or an end: eleven days
CAPTION_BYTES = 65_536  # read from a caption file at most


@dataclass(frozen=True, eq=False)
class EncodedFrames:
    """What a base's encoders made of a reference: latents (C, T, h, w) and caption tokens (L, D), float32.

    maker: which encoders at which size, as `latents.encoders_of` names them; others must not use it.
    """

    latents: NDArray[np.float32]
    caption: NDArray[np.float32]
    maker: str


@dataclass(frozen=True, eq=False)
class ReferenceVideo:
    """Frames (T, H, W, 3) uint8 RGB that show the action, T >= 2, `fps` of them a second.

    caption: what the video shows; may be empty. strength: 0 (ignored), 1 (as trained), at most 10.
    timestamps: seconds in the source file of each frame (T,); counted from `fps` when not given.
    source: the file, or None for frames made in memory. duration: of the source file, seconds, when known.
    encoded: the same frames and caption encoded already, used where the base's encoders made it.
    crop: the whole frames and the boxes that `frames` are, where they were cropped to what moves.
    Raises SettingsError for frames, rates or strengths that cannot be, ClipTooShort below two frames.
    """

    frames: Frames
    fps: float = DEFAULT_FPS
    caption: str = ""
    strength: float = 1.0
    timestamps: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    source: Path | None = None
    duration: float | None = None
    encoded: EncodedFrames | None = None
    crop: Crop | None = None

    def __post_init__(self) -> None:
        _check_rate(self.fps)
        if not 0 <= self.strength <= MOST_STRENGTH:
            raise SettingsError(
                f"strength: got {self.strength}, need 0 or more, at most {MOST_STRENGTH:g}; 1 is as trained"
            )
        checked_text("caption of the reference", self.caption)
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8:
            raise SettingsError(
                f"frames: got {self.frames.dtype} {self.frames.shape}, need uint8 (T, H, W, 3), RGB"
            )
        if len(self.timestamps) == 0:
            object.__setattr__(self, "timestamps", np.arange(len(self.frames)) / self.fps)
        if len(np.unique(self.timestamps)) < 2:
            raise ClipTooShort(
                f"{self.name}: 1 frame, need at least 2 to see an action; choose a longer part, or a video"
            )

    @classmethod
    def from_file(
        cls,
        path: Path | str,
        caption: str | None = None,
        *,
        start: float | None = None,
        end: float | None = None,
        fps: float | None = None,
        frames: int | None = None,
        strength: float = 1.0,
        crop: CropKind = "middle",
    ) -> Self:
        """Frames of the file from `start` to before `end`, in seconds. `describe()` tells which were taken.

        Without `end`: `frames` of them (16) from `start` (0) at `fps` (8), so the first two seconds of a long
        video and all of a short one. With `end`: at most `frames` (16) over the whole part, 8 a second or
        slower; with `end` and `fps`: all there are. `caption` defaults to the text file beside the video
        (cartwheel.txt for cartwheel.mp4), if any. `crop` "moving" takes the square around what moves, for
        videos of a still camera; "middle" leaves the frames whole, of which a base takes the middle.
        Over six arguments: each is one thing that users ask for.
        Raises VideoError's family for files that cannot be used, SettingsError for values that cannot be.
        """
        path = Path(path)
        span = _span(start, end, fps, frames)
        if crop not in CROPS:
            raise SettingsError(f"crop: got {crop!r}, need {' or '.join(CROPS)}")
        info = probe(path)
        clip = read_frames(path, span, size=_read_size(info))
        box = crop_to_motion(clip.frames, path.name) if crop == "moving" else None
        return cls(
            frames=clip.frames if box is None else box.frames(),
            fps=span.fps or DEFAULT_FPS,
            caption=_sidecar(path) if caption is None else caption,
            strength=strength,
            timestamps=clip.timestamps,
            source=path,
            duration=info.duration,
            crop=box,
        )

    @property
    def name(self) -> str:
        return "frames in memory" if self.source is None else self.source.name

    def describe(self) -> str:
        """One line, such as "16 frames, 0.00 s to 1.88 s of cartwheel.mp4 at 8 fps"."""
        first, last = self.timestamps[0], self.timestamps[-1]
        line = f"{len(self.frames)} frames, {first:.2f} s to {last:.2f} s of {self.name} at {self.fps:g} fps"
        if self.duration is not None and self.duration > last + 1 / self.fps + 0.25:
            line += f" (it is {self.duration:.2f} s long; start and end choose another part)"
        if self.crop is not None:
            side = self.frames.shape[1]
            line += f", cropped to the {side}x{side} pixels around what moves"
        return line

    def sheet(self, columns: int = 8, height: int = 96) -> Frames:
        """A picture (H, W, 3) of every frame taken, in rows under their times; cropped ones are shown whole,
        with the box in red."""
        shown = self.frames if self.crop is None else self.crop.outlined()
        rows = []
        for first in range(0, len(self.frames), columns):
            part = slice(first, first + columns)
            times = self.timestamps[part]
            rows.append((f"{times[0]:.2f} s to {times[-1]:.2f} s", shown[part]))
        return contact_sheet([(f"{self.describe()}: {rows[0][0]}", rows[0][1]), *rows[1:]], columns, height)


def _span(start: float | None, end: float | None, fps: float | None, frames: int | None) -> Span:
    """What to read, by the rules of `ReferenceVideo.from_file`."""
    start = 0.0 if start is None else start
    if not 0 <= start <= MOST_SECONDS:
        raise SettingsError(f"start: got {start}, need seconds from the beginning, 0 to {MOST_SECONDS:g}")
    if end is not None and not start + 1 / MOST_FPS <= end <= MOST_SECONDS:
        raise SettingsError(
            f"end: got {end}, need seconds after the start at {start}, at most {MOST_SECONDS:g}"
        )
    if fps is not None:
        _check_rate(fps)
    if frames is not None and frames < 2:
        raise SettingsError(f"frames: got {frames}, need at least 2 to see an action")
    count = frames or DEFAULT_FRAMES
    if end is None:
        return Span(start=start, fps=fps or DEFAULT_FPS, frames=count)
    if fps is None:
        return Span(start=start, end=end, fps=min(DEFAULT_FPS, count / (end - start)), frames=count)
    return Span(start=start, end=end, fps=fps, frames=frames)


def _check_rate(fps: float) -> None:
    if not 0 < fps <= MOST_FPS:
        raise SettingsError(f"fps: got {fps}, need more than 0, at most {MOST_FPS:g}")


def _read_size(info: VideoInfo) -> tuple[int, int]:
    """(height, width) to read a video at: its own, or less so that no side is over `LONGEST_SIDE`."""
    scale = min(1.0, LONGEST_SIDE / max(info.height, info.width))
    return max(1, round(info.height * scale)), max(1, round(info.width * scale))


def _sidecar(path: Path) -> str:
    """The caption in the text file beside a video, on one line; empty when there is none.

    Raises SettingsError for a file that is too long for a caption.
    """
    file = next((file for suffix in (".txt", ".TXT") if (file := path.with_suffix(suffix)).is_file()), None)
    if file is None:
        return ""
    with file.open("rb") as stream:
        data = stream.read(CAPTION_BYTES + 1)
    if len(data) > CAPTION_BYTES:
        raise SettingsError(f"{file}: over {CAPTION_BYTES} bytes, no caption; shorten it, or give a caption")
    text, note = decoded(data)
    if note:
        warnings.warn(f"{file}: {note}", stacklevel=3)
    return one_line(text)
