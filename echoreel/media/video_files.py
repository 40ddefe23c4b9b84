"""File <-> frames (PyAV; Pillow for gif, webp and still pictures).

Frames are uint8 RGB arrays (T, H, W, 3). Times are seconds from the first frame and come from presentation
timestamps, so a variable frame rate is read right. Rotation, mirroring and non-square pixels are applied,
alpha is laid over mid-grey, and `VideoLimits` hold before and while decoding.
"""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Annotated, NamedTuple

import av
import numpy as np
from einops import repeat
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from echoreel.common.errors import ClipTooShort, VideoError, VideoMissing, VideoTooLarge, VideoUnreadable
from echoreel.common.files import written_beside
from echoreel.common.places import regular_file
from echoreel.common.settings import Settings
from echoreel.media.colours import has_alpha, picture_rgb, upright
from echoreel.media.decoding import (
    Source,
    VideoLimits,
    decoded,
    decoded_from,
    opened,
    reason,
    shown_aspect,
    shown_size,
)
from echoreel.media.images import Frames, fitted

PICTURES = ("PNG", "JPEG", "WEBP", "BMP")  # kinds of still pictures that are read
PICTURE_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}  # that are written
MOST_FPS = 1000.0  # frames a second that may be asked for
LEAST_FPS = 1 / 86_400  # a frame a day
LEAST_WRITTEN = 1e-3  # frames a second; an mp4 of fewer would silently have 24
LONGEST_SHOWN = {"gif": 655_350, "webp": 2**24 - 1}  # milliseconds of one frame that the format can tell
NOTES_READ = 1 << 20  # characters of a video's comment


class Span(Settings):
    """Which frames of a video: from `start` to before `end` (seconds), at most `frames` of them.

    With `fps`, the frame on show at each tick of that rate (slower videos repeat frames, faster ones skip);
    without it, every `stride`-th frame as filmed.
    """

    start: NonNegativeFloat = 0.0
    end: PositiveFloat | None = None
    fps: Annotated[float, Field(gt=0, le=MOST_FPS)] | None = None
    stride: PositiveInt = 1
    frames: PositiveInt | None = None


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself; sizes as shown, that is after rotation and with square pixels."""

    height: int
    width: int
    fps: float  # average; 0 when the file does not say
    duration: float | None  # seconds; None when the file does not say
    frames: int | None
    rotation: int  # degrees anticlockwise that a player turns the stored frames by
    codec: str
    has_alpha: bool


class Clip(NamedTuple):
    """Frames (T, H, W, 3) uint8 RGB and the time (T,) in seconds at which each one appears in the file."""

    frames: Frames
    timestamps: NDArray[np.float64]
    filmed: tuple[int, int] | None = None  # (height, width) in the file, as shown


WHOLE = Span()
LIMITS = VideoLimits()


def probe(path: Path | str) -> VideoInfo:
    """Size, rate, length and kind of a video. Decodes one frame. Raises the errors of `read_frames`."""
    with opened(Path(path), LIMITS) as source:
        stream = source.stream
        _, frame = next(decoded(source))
        height, width = shown_size(frame, source.pixel_aspect)
        return VideoInfo(
            height=height,
            width=width,
            fps=source.rate or 0.0,
            duration=source.duration,
            frames=stream.frames or None,
            rotation=frame.rotation % 360,
            codec=stream.codec_context.name,
            has_alpha=has_alpha(frame),
        )


def read_frames(
    path: Path | str, span: Span = WHOLE, size: tuple[int, int] | None = None, limits: VideoLimits = LIMITS
) -> Clip:
    """Frames of `span`, resized with antialiasing to `size` (height, width) when given.

    They fill the size; what hangs over is cut, centred.
    Raises VideoMissing, VideoUnreadable, VideoEmpty, VideoTooLarge; ClipTooShort if the span has no frame.
    """
    name, pictures, times = Path(path).name, list[Frames](), list[float]()
    if span.start > limits.seconds:
        raise ClipTooShort(f"{name}: no frame from {span.start:g} s on; choose an earlier start")
    with opened(Path(path), limits) as source:
        chosen = _as_filmed(source, span) if span.fps is None else _at_rate(source, span, span.fps)
        for time, frame in islice(chosen, span.frames):
            filmed = shown_size(frame, source.pixel_aspect)
            size = size or filmed
            pictures.append(fitted(upright(frame, size), size, shown_aspect(frame, source)))
            times.append(time)
            if len(pictures) * pictures[0].nbytes > limits.kept_bytes:
                raise VideoTooLarge(
                    f"{name}: over {limits.kept_bytes} bytes of frames; ask for fewer, or for a smaller size"
                )
        length = "" if source.duration is None else f" of {source.duration:.2f} s"
    if not pictures:
        raise ClipTooShort(f"{name}{length}: no frame from {span.start:.2f} s on; choose an earlier start")
    return Clip(_stacked(pictures), np.array(times), filmed)


def write_video(
    path: Path | str, frames: Frames, fps: float, enlarge: int = 1, overwrite: bool = True, notes: str = ""
) -> None:
    """Write frames (T, H, W, 3) uint8 as .mp4 (h264, yuv420p, faststart), .gif or .webp, by the suffix.

    `enlarge` repeats every pixel, so that a 32x32 video can be watched; odd sizes grow by one pixel in mp4.
    `notes` go into the comment of an mp4, where `read_notes` finds them.
    Written beside and renamed. Raises VideoError for another suffix or shape, and for what cannot be encoded.
    Raises OutputError for places that cannot be written, and without `overwrite` for a file that exists.
    """
    with video_beside(Path(path), frames, fps, enlarge, overwrite, notes):
        pass


@contextmanager
def video_beside(
    path: Path, frames: Frames, fps: float, enlarge: int = 1, overwrite: bool = True, notes: str = ""
) -> Iterator[None]:
    """As `write_video`; the file takes its place when the block ends, unless that raises."""
    if path.suffix.lower() not in (".mp4", ".gif", ".webp"):
        raise VideoError(
            f"{path.name}: cannot write '{path.suffix}' videos; end the name in .mp4, .gif or .webp"
        )
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) == 0:
        raise VideoError(
            f"{path.name}: got frames {frames.dtype} {frames.shape}, need uint8 (T, H, W, 3), T >= 1"
        )
    if not LEAST_WRITTEN <= fps <= MOST_FPS:
        raise VideoError(
            f"{path.name}: got {fps} frames a second, need {LEAST_WRITTEN:g} or more, at most {MOST_FPS:g}"
        )
    try:
        with written_beside(path, overwrite) as partial:
            if path.suffix.lower() == ".mp4":
                _write_mp4(partial, frames, fps, enlarge, notes)
            else:
                _write_animation(partial, frames, fps, enlarge, path.suffix.lower()[1:])
            yield
    except (av.FFmpegError, OverflowError, SystemError, struct.error) as error:
        raise VideoError(
            f"{path.name}: cannot be encoded ({reason(error)}); ask for a smaller size, or another suffix"
        ) from error


def read_notes(path: Path | str) -> str:
    """The comment in a video, which may be empty. Raises VideoError's family for anything but a video."""
    with opened(Path(path), LIMITS) as source:
        return source.container.metadata.get("comment", "")[:NOTES_READ]


def read_image(path: Path | str) -> Frames:
    """The picture (H, W, 3) uint8 in a file, upright, in sRGB, alpha over grey.

    Raises VideoMissing, VideoUnreadable, VideoTooLarge.
    """
    path = Path(path)
    if regular_file(path, VideoMissing, "a picture").st_size > LIMITS.file_bytes // 8:
        raise VideoTooLarge(f"{path.name}: over {LIMITS.file_bytes // 8} bytes; make it smaller first")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about sizes and damage; the limits below are ours
            with Image.open(path, formats=PICTURES) as picture:
                if (pixels := picture.width * picture.height) > LIMITS.pixels:
                    raise VideoTooLarge(f"{path.name}: got {pixels} pixels, need {LIMITS.pixels} or fewer")
                return picture_rgb(ImageOps.exif_transpose(picture))
    except VideoError:
        raise
    except Exception as error:  # Pillow's readers raise nearly everything on damaged files
        raise VideoUnreadable(
            f"{path.name}: not a picture that can be read; need a {', '.join(PICTURES)} file"
        ) from error


def write_image(path: Path | str, image: Frames) -> None:
    """Write a picture (H, W, 3) uint8 as .png, .jpg or .webp. Raises VideoError for other suffixes and
    OutputError for places that cannot be written."""
    path = Path(path)
    check_picture_name(path)
    with written_beside(path) as partial:
        Image.fromarray(image).save(partial, format=PICTURE_FORMATS[path.suffix.lower()])


def check_picture_name(path: Path) -> None:
    """Raises VideoError unless the name ends as that of a picture that can be written."""
    if path.suffix.lower() not in PICTURE_FORMATS:
        raise VideoError(
            f"{path.name}: cannot write '{path.suffix}' pictures; end the name in .png, .jpg or .webp"
        )


def _stacked(pictures: list[Frames]) -> Frames:
    """One array of all, which takes them out of the list one by one, so that they are not held twice."""
    frames = np.empty((len(pictures), *pictures[0].shape), np.uint8)
    for index in reversed(range(len(frames))):
        frames[index] = pictures.pop()
    return frames


def _as_filmed(source: Source, span: Span) -> Iterator[tuple[float, av.VideoFrame]]:
    """Every `stride`-th frame of the span."""
    index = 0
    for time, frame in decoded_from(source, span.start):
        if span.end is not None and time >= span.end - source.slack:
            return
        if time >= span.start - source.slack:
            if index % span.stride == 0:
                yield time, frame
            index += 1


def _at_rate(source: Source, span: Span, fps: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """The frame on show at each tick of `fps` in the span: a frame is on show until the next one appears."""
    count, shown, appeared = 0, None, 0.0
    end = float("inf") if span.end is None else span.end - source.slack
    for time, frame in chain(decoded_from(source, span.start), [(None, None)]):
        until = appeared + source.step if time is None else time
        while shown is not None and span.start + count / fps < min(until - source.slack, end):
            yield appeared, shown
            count += 1
        if until >= end + source.slack:
            return
        shown, appeared = frame, until


def _write_mp4(path: Path, frames: Frames, fps: float, enlarge: int, notes: str) -> None:
    height, width = frames.shape[1] * enlarge, frames.shape[2] * enlarge
    even = ((0, height % 2), (0, width % 2), (0, 0))  # yuv420p halves both
    # "file:" and an absolute path, so that FFmpeg takes no colon in it for an address.
    with av.open(
        f"file:{path.absolute()}", "w", format="mp4", options={"movflags": "+faststart"}
    ) as container:
        if notes:
            container.metadata["comment"] = notes
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width, stream.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
        # x264's macroblock tree reads memory that it has not set, where the processor has AVX-512: the same
        # frames gave other bytes by chance.
        stream.options = {"crf": "17", "preset": "medium", "mbtree": "0"}
        for frame in frames:
            picture = np.pad(_enlarged(frame, enlarge), even, mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def animated_webp(frames: Frames, fps: float, enlarge: int = 1) -> bytes:
    """Frames (T, H, W, 3) uint8 as the bytes of an animated webp, for pages and notebooks."""
    buffer = BytesIO()
    _write_animation(buffer, frames, fps, enlarge, "webp")
    return buffer.getvalue()


def _write_animation(path: Path | BytesIO, frames: Frames, fps: float, enlarge: int, kind: str) -> None:
    """A gif or webp that loops; a gif counts time in 1/100 s, so its rounding must not add up."""
    unit = 10 if kind == "gif" else 1
    edges = [round(index * 1000 / fps / unit) * unit for index in range(len(frames) + 1)]
    durations = [min(max(unit, after - before), LONGEST_SHOWN[kind]) for before, after in pairwise(edges)]
    first, *rest = [Image.fromarray(_enlarged(frame, enlarge)) for frame in frames]
    first.save(path, format=kind, save_all=True, append_images=rest, duration=durations, loop=0)


def _enlarged(frame: Frames, times: int) -> Frames:
    return repeat(frame, "h w c -> (h y) (w x) c", y=times, x=times)
