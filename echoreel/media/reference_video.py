"""Reference videos: which frames of a file show the action, and how strongly they count.

Over 300 lines since one class is what users hold, and its public methods tell their arguments and errors.
"""

import html
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from echoreel.common.errors import ClipTooShort, SettingsError
from echoreel.common.places import regular_file
from echoreel.common.text import checked_text, decoded, one_line
from echoreel.media.drawing import contact_sheet
from echoreel.media.images import Frames, dimmed_outside
from echoreel.media.moving_crop import Crop, crop_to_motion
from echoreel.media.notebook import film_html
from echoreel.media.reference_file import (
    SUFFIX,
    EncodedFrames,
    StoredReference,
    is_reference_file,
    read_reference,
    write_reference,
)
from echoreel.media.reference_times import ALIGNMENTS, Align, aligned
from echoreel.media.video_files import LEAST_FPS, MOST_FPS, Span, VideoInfo, probe, read_frames

DEFAULT_FPS = 8.0  # frames a second taken from a file, when nothing else is asked
DEFAULT_FRAMES = 16  # at most
LONGEST_SIDE = 1024  # pixels; larger videos are read smaller, since no base takes larger references
CROPS = ("middle", "moving")
CropKind: TypeAlias = Literal["middle", "moving"]
MOST_STRENGTH = 10.0
MOST_SECONDS = 1e6  # of a start or an end: eleven days
CAPTION_BYTES = 65_536  # read from a caption file at most


@dataclass(frozen=True, eq=False)
class ReferenceVideo:
    """A clip that shows the action: some frames of a video, and how strongly they count.

    `ReferenceVideo.from_file` reads one; frames in memory work as well.

    Args:
        frames: (T, H, W, 3) uint8 RGB, T at least 2.
        fps: frames a second.
        caption: what the clip shows; may be empty.
        strength: 0 ignores it, 1 is as trained, at most 10.
        timestamps: seconds in the source file of each frame (T,). Default: counted from `fps`.
        source: the file, if there is one.
        duration: of the source file in seconds, if known.
        encoded: the same frames and caption as encoders made them ahead; used by bases with these encoders.
        crop: the whole frames, where `frames` were cropped to what moves.
        span: which part of the file was asked for.
        during: the part of the video made that it acts in, from 0 to 1; its time fills that part.
        stored: the reference file that they are from; times count from its first frame.
        align: what happens where it is longer or shorter than the video: "stretch" fits all of it to the
            video; the others play it at `speed`: "start" once, "loop" again and again, "ping-pong" forwards
            and backwards in turn.
        speed: 2 plays it twice as fast, 0.5 at half its speed; 1 with "stretch".
        first_look: more frames of the file are read once the length of the video is known.

    Raises:
        SettingsError: frames, rate, strength or speed are out of range.
        ClipTooShort: there are fewer than two frames.
    """

    frames: Frames
    fps: float = DEFAULT_FPS
    caption: str = ""
    strength: float = 1.0
    timestamps: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    source: Path | None = None
    duration: float | None = None
    encoded: tuple[EncodedFrames, ...] = ()
    crop: Crop | None = None
    stored: StoredReference | None = None
    span: Span | None = None
    during: tuple[float, float] = (0.0, 1.0)
    align: Align = "stretch"
    speed: float = 1.0
    first_look: bool = False

    def __post_init__(self) -> None:
        _check_rate(self.fps)
        if not 0 <= self.strength <= MOST_STRENGTH:
            raise SettingsError(
                f"strength: got {self.strength}, need 0 or more, at most {MOST_STRENGTH:g}; 1 is as trained"
            )
        if not 0 <= self.during[0] < self.during[1] <= 1:
            raise SettingsError(
                f"during: got {self.during[0]:g} to {self.during[1]:g}, need a part of the video made, "
                "from 0 to 1, the end after the start"
            )
        aligned(self.align, self.speed)
        checked_text("caption of the reference", self.caption)
        if not isinstance(self.frames, np.ndarray):
            raise SettingsError(
                f"frames: got a {type(self.frames).__name__}, need an array (T, H, W, 3); "
                "ReferenceVideo.from_file(path) reads a file"
            )
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
        align: Align | None = None,
        speed: float | None = None,
    ) -> Self:
        """Take frames of a video file. `describe()` says which ones were taken.

        Without `end`, 16 frames are taken from `start` at 8 a second: the first two seconds of a long video,
        all of a short one. With `end`, at most 16 frames are spread over the part; with `end` and `fps`, all
        frames of the part are taken at that rate. With `align` or `speed`, which are for a reference that is
        longer or shorter than the video, the part may span minutes: `generate` reads what the video needs of
        it, at the video's frame rate. Without `end` it then goes to the end of the file.

        Args:
            path: a video, an animated gif or webp, or a reference file, of which all frames are taken unless
                you ask otherwise.
            caption: what it shows. Default: the text file beside it (`a.txt` for `a.mp4`), if any.
            start: seconds from the beginning. Default: 0.
            end: seconds; frames are taken before it.
            fps: frames a second. Default: 8, or slower to reach the `end`.
            frames: how many at most. Default: 16.
            strength: 0 ignores the reference, 1 is as trained.
            crop: "middle" keeps frames whole, and the base takes their middle; "moving" cuts out a square
                that follows what moves, for still cameras.
            align: "stretch" (the default), "start", "loop" or "ping-pong", see the class.
            speed: how fast it plays; without `align` once, from the start.

        Returns:
            The reference.

        Raises:
            VideoError: the file is missing, damaged, too large, or too short.
            SettingsError: a value is out of range.
        """
        path = Path(path)
        kind, pace = aligned(align, speed)
        span = _span(start, end, fps, frames, kind)
        if crop not in CROPS:
            raise SettingsError(f"crop: got {crop!r}, need {' or '.join(CROPS)}")
        if crop == "middle" and fps is None and frames is None and is_reference_file(path):
            found = cls.load(path, caption, strength=strength, align=align, speed=speed)
            if not start and (end is None or end > found.timestamps[-1]):
                return found
        info = probe(path)
        clip = read_frames(path, span, size=read_size(info))
        box = crop_to_motion(clip.frames, path.name) if crop == "moving" else None
        return cls(
            frames=clip.frames if box is None else box.frames(),
            fps=span.fps or DEFAULT_FPS,
            caption=_caption(path) if caption is None else caption,
            strength=strength,
            timestamps=clip.timestamps,
            source=path,
            duration=info.duration,
            crop=box,
            span=span,
            align=kind,
            speed=pace,
            first_look=fps is None and frames is None,
        )

    @classmethod
    def load(
        cls,
        path: Path | str,
        caption: str | None = None,
        *,
        strength: float = 1.0,
        align: Align | None = None,
        speed: float | None = None,
    ) -> Self:
        """Read a reference file whole, with what it holds for bases.

        Args:
            path: a file that `save` wrote.
            caption: another caption than the file's; what is encoded for bases is then not used.
            strength: 0 ignores the reference, 1 is as trained.
            align: another than the file's, see the class.
            speed: another than the file's.

        Returns:
            The reference.

        Raises:
            VideoError: it is not a reference file.
            SettingsError: align or speed cannot be.
        """
        path = Path(path)
        stored = read_reference(path)
        kept = caption is None or caption == stored.caption
        if align is None and speed is None:
            align, speed = stored.align, stored.speed
        kind, pace = aligned(align, speed)
        return cls(
            frames=stored.frames,
            fps=stored.fps,
            caption=stored.caption if caption is None else caption,
            strength=strength,
            source=path,
            encoded=stored.encoded if kept else (),
            stored=stored,
            align=kind,
            speed=pace,
        )

    def read_whole(self) -> Self:
        """Read all frames of its part, 8 a second, where only the first ones were read so far.

        Returns:
            The reference with all of its frames.

        Raises:
            VideoError: the file cannot be read, or is too large for that.
        """
        if not self.first_look or self.align == "stretch" or self.source is None or self.span is None:
            return self
        start = self.span.start
        read = self.from_file(
            self.source,
            self.caption,
            start=start,
            end=start + self.seconds,
            fps=self.fps,
            strength=self.strength,
            crop="middle" if self.crop is None else "moving",
            align=self.align,
            speed=self.speed,
        )
        return replace(read, during=self.during)

    def save(self, path: Path | str, overwrite: bool = True) -> None:
        """Write a reference file: frames (no side over 512 pixels), caption and what is encoded for bases.

        Args:
            path: a name that ends in .safetensors.
            overwrite: replace a file that is there.

        Raises:
            OutputError: the file cannot be written, or is there.
            SettingsError: the name ends otherwise.
        """
        path = Path(path)
        check_reference_name(path)
        if self.first_look and self.align != "stretch":
            self.read_whole().save(path, overwrite)
            return
        before = self.stored
        whole = before is not None and len(before.frames) == len(self.frames)
        if before is not None and whole:
            stored = replace(
                before, caption=self.caption, encoded=self.encoded, align=self.align, speed=self.speed
            )
        else:
            stored = StoredReference(
                frames=self.frames,
                times=self.timestamps,
                fps=self.fps,
                caption=self.caption,
                source="" if self.source is None else self.source.name,
                duration=self.duration,
                boxes=None if self.crop is None else self.crop.boxes,
                encoded=self.encoded,
                align=self.align,
                speed=self.speed,
            )
        write_reference(path, stored, overwrite)

    @property
    def seconds(self) -> float:
        """How much of its video it spans."""
        span = self.span
        if span is not None and self.duration is not None and (span.end or self.align != "stretch"):
            return max(1 / MOST_FPS, min(span.end or self.duration, self.duration) - span.start)
        if span is not None:
            return len(self.frames) / self.fps
        return float(self.timestamps[-1] - self.timestamps[0]) + 1 / self.fps

    @property
    def name(self) -> str:
        return "frames in memory" if self.source is None else self.source.name

    def __repr__(self) -> str:
        return f"<reference: {self.describe()}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the frames taken, playing, and which they are."""
        shown = self.frames if self.crop is None else self.crop.outlined()
        said = html.escape(self.caption or "no caption")
        return f"{film_html('reference', shown, self.fps)}<p>{said}<br>{html.escape(self.describe())}</p>"

    def describe(self) -> str:
        """Which frames were taken and how they are fitted to the video, such as "16 frames, 0.00 s to 1.88 s
        of cartwheel.mp4 at 8 fps, stretched over the video made"."""
        first, last = self.timestamps[0], self.timestamps[-1]
        if self.first_look and self.align != "stretch":
            assert self.span is not None
            first = self.span.start
            line = f"{first:.2f} s to {first + self.seconds:.2f} s of {self.name} at the video's frame rate"
        else:
            line = (
                f"{len(self.frames)} frames, {first:.2f} s to {last:.2f} s of {self.name} at {self.fps:g} fps"
            )
            if self.duration is not None and self.duration > last + 1 / self.fps + 0.25:
                line += f" (it is {self.duration:.2f} s long; start and end choose another part)"
        line += f", {ALIGNMENTS[self.align]} "
        if self.during != (0, 1):
            line += f"{self.during[0]:.0%} to {self.during[1]:.0%} of "
        line += "the video made"
        if self.speed != 1:
            line += f", at {self.speed:g} times its speed"
        if self.crop is not None:
            side = self.frames.shape[1]
            line += f", cropped to the {side}x{side} pixels around what moves"
        return line

    def sheet(self, columns: int = 8, height: int = 96, size: tuple[int, int] | None = None) -> Frames:
        """Draw every frame taken, in rows under their times.

        Frames that were cropped to what moves are shown whole, with the box drawn in.

        Args:
            columns: frames in a row.
            height: of a frame in the picture, pixels.
            size: (height, width) of the base's videos: what it cuts away is greyed.

        Returns:
            A picture (H, W, 3), uint8 RGB.
        """
        shown = self.frames if self.crop is None else self.crop.outlined()
        if size is not None and self.crop is None:
            shown = dimmed_outside(shown, size)
        rows = []
        for first in range(0, len(self.frames), columns):
            part = slice(first, first + columns)
            times = self.timestamps[part]
            rows.append((f"{times[0]:.2f} s to {times[-1]:.2f} s", shown[part]))
        return contact_sheet([(f"{self.describe()}: {rows[0][0]}", rows[0][1]), *rows[1:]], columns, height)


def _span(
    start: float | None, end: float | None, fps: float | None, frames: int | None, align: Align
) -> Span:
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
    if end is None or (align != "stretch" and fps is None and frames is None):
        return Span(start=start, end=end, fps=fps or DEFAULT_FPS, frames=count)
    if fps is None:
        return Span(start=start, end=end, fps=min(DEFAULT_FPS, count / (end - start)), frames=count)
    return Span(start=start, end=end, fps=fps, frames=frames)


Reference: TypeAlias = ReferenceVideo | str | Path
"""What people pass: a reference, or its file."""


def as_references(given: Reference | Sequence[Reference]) -> list[ReferenceVideo]:
    """One or several, with files read. Raises VideoError's family."""
    several = [given] if isinstance(given, ReferenceVideo | str | Path) else given
    return [each if isinstance(each, ReferenceVideo) else ReferenceVideo.from_file(each) for each in several]


def _check_rate(fps: float) -> None:
    if not LEAST_FPS <= fps <= MOST_FPS:
        raise SettingsError(f"fps: got {fps}, need {LEAST_FPS:.2g} to {MOST_FPS:g}")


def read_size(info: VideoInfo) -> tuple[int, int]:
    """(height, width) to read a video at: its own, or less so that no side is over `LONGEST_SIDE`."""
    scale = min(1.0, LONGEST_SIDE / max(info.height, info.width))
    return max(1, round(info.height * scale)), max(1, round(info.width * scale))


def check_reference_name(path: Path) -> None:
    """Raises SettingsError unless the name ends as that of a reference file."""
    if path.suffix.lower() != SUFFIX:
        raise SettingsError(f"{path.name}: a reference file ends in {SUFFIX}; choose such a name")


def _caption(path: Path) -> str:
    """Of a reference file its own; else that in the text file beside a video, on one line, or none."""
    if is_reference_file(path):
        return read_reference(path).caption
    beside = (path.with_suffix(suffix) for suffix in (".txt", ".TXT"))
    file = next((file for file in beside if os.path.lexists(file)), None)
    if file is None:
        return ""
    regular_file(file, SettingsError, "a text file in its place, or a caption")
    with file.open("rb") as stream:
        data = stream.read(CAPTION_BYTES + 1)
    if len(data) > CAPTION_BYTES:
        raise SettingsError(f"{file}: over {CAPTION_BYTES} bytes, no caption; shorten it, or give a caption")
    text, note = decoded(data)
    if note:
        warnings.warn(f"{file}: {note}", stacklevel=3)
    return one_line(text)
