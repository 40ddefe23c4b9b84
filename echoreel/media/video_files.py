"""File <-> frames (PyAV; Pillow for gif, webp and still pictures).

Frames are uint8 RGB arrays (T, H, W, 3). Times are seconds from the first frame and come from presentation
timestamps, so a variable frame rate is read right. Rotation, mirroring and non-square pixels are applied,
alpha is laid over mid-grey, and `VideoLimits` hold before and while decoding.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from einops import repeat
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from echoreel.common.errors import ClipTooShort, VideoError, VideoMissing, VideoTooLarge, VideoUnreadable
from echoreel.common.settings import Settings
from echoreel.media.decoding import (
    Source,
    VideoLimits,
    decoded,
    decoded_from,
    has_alpha,
    opened,
    reason,
    shown_aspect,
    shown_size,
    upright,
)
from echoreel.media.images import Fit, Frames, fitted

PICTURES = ("PNG", "JPEG", "WEBP", "BMP")  # kinds of still pictures that are read


class Span(Settings):
    """Which frames of a video: from `start` to before `end` (seconds), at most `frames` of them.

    With `fps`, the frame on show at each tick of that rate (slower videos repeat frames, faster ones skip);
    without it, every `stride`-th frame as filmed.
    """

    start: NonNegativeFloat = 0.0
    end: PositiveFloat | None = None
    fps: PositiveFloat | None = None
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


WHOLE = Span()
LIMITS = VideoLimits()


def probe(path: Path | str, limits: VideoLimits = LIMITS) -> VideoInfo:
    """Size, rate, length and kind of a video. Decodes one frame. Raises the errors of `read_frames`."""
    with opened(Path(path), limits) as source:
        stream = source.stream
        _, frame = next(decoded(source))
        height, width = shown_size(frame, source.pixel_aspect)
        return VideoInfo(
            height=height,
            width=width,
            fps=float(stream.average_rate or 0),
            duration=source.duration,
            frames=stream.frames or None,
            rotation=frame.rotation % 360,
            codec=stream.codec_context.name,
            has_alpha=has_alpha(frame),
        )


def read_frames(
    path: Path | str,
    span: Span = WHOLE,
    size: tuple[int, int] | None = None,
    fit: Fit = "crop",
    limits: VideoLimits = LIMITS,
) -> Clip:
    """Frames of `span`, resized with antialiasing to `size` (height, width) when given.

    `fit` "crop" fills the size and cuts what hangs over, centred; "letterbox" shows the whole frame on grey.
    Raises VideoMissing, VideoUnreadable, VideoEmpty, VideoTooLarge; ClipTooShort if the span has no frame.
    """
    name, pictures, times = Path(path).name, list[Frames](), list[float]()
    with opened(Path(path), limits) as source:
        chosen = _as_filmed(source, span) if span.fps is None else _at_rate(source, span, span.fps)
        for time, frame in islice(chosen, span.frames):
            size = size or shown_size(frame, source.pixel_aspect)
            pictures.append(fitted(upright(frame), size, fit, shown_aspect(frame, source)))
            times.append(time)
            if len(pictures) * pictures[0].nbytes > limits.kept_bytes:
                raise VideoTooLarge(
                    f"{name}: over {limits.kept_bytes} bytes of frames; ask for fewer, or for a smaller size"
                )
        length = "" if source.duration is None else f" of {source.duration:.2f} s"
    if not pictures:
        raise ClipTooShort(f"{name}{length}: no frame from {span.start:.2f} s on; choose an earlier start")
    return Clip(np.stack(pictures), np.array(times))


def write_video(path: Path | str, frames: Frames, fps: float, enlarge: int = 1) -> None:
    """Write frames (T, H, W, 3) uint8 as .mp4 (h264, yuv420p, faststart), .gif or .webp, by the suffix.

    `enlarge` repeats every pixel, so that a 32x32 video can be watched; odd sizes grow by one pixel in mp4.
    Written beside and renamed. Raises VideoError for another suffix, other shapes and unwritable places.
    """
    path = Path(path)
    if path.suffix.lower() not in (".mp4", ".gif", ".webp"):
        raise VideoError(
            f"{path.name}: cannot write '{path.suffix}' videos; end the name in .mp4, .gif or .webp"
        )
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) == 0:
        raise VideoError(
            f"{path.name}: got frames {frames.dtype} {frames.shape}, need uint8 (T, H, W, 3), T >= 1"
        )
    if fps <= 0:
        raise VideoError(f"{path.name}: got {fps} frames a second, need more than 0")
    frames = repeat(frames, "t h w c -> t (h y) (w x) c", y=enlarge, x=enlarge)
    with _beside(path) as partial:
        if path.suffix.lower() == ".mp4":
            _write_mp4(partial, frames, fps)
        else:
            _write_animation(partial, frames, fps, path.suffix.lower()[1:])


def read_image(path: Path | str) -> Frames:
    """The picture (H, W, 3) uint8 in a file, upright. Raises VideoMissing, VideoUnreadable, VideoTooLarge."""
    path = Path(path)
    if not path.exists():
        raise VideoMissing(f"{path.name}: there is no such file")
    try:
        with Image.open(path, formats=PICTURES) as picture:
            if (pixels := picture.width * picture.height) > LIMITS.pixels:
                raise VideoTooLarge(f"{path.name}: got {pixels} pixels, need {LIMITS.pixels} or fewer")
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise VideoUnreadable(
            f"{path.name}: not a picture that can be read; need a {', '.join(PICTURES)} file"
        ) from error


def write_image(path: Path | str, image: Frames) -> None:
    """Write a picture (H, W, 3) uint8 as .png, .jpg or .webp. Raises VideoError where that cannot be."""
    path = Path(path)
    formats = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
    if path.suffix.lower() not in formats:
        raise VideoError(
            f"{path.name}: cannot write '{path.suffix}' pictures; end the name in .png, .jpg or .webp"
        )
    with _beside(path) as partial:
        Image.fromarray(image).save(partial, format=formats[path.suffix.lower()])


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


def _write_mp4(path: Path, frames: Frames, fps: float) -> None:
    height, width = frames.shape[1:3]
    even = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))  # yuv420p halves both
    frames = np.pad(frames, even, mode="edge")
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.options = {"crf": "17", "preset": "medium"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _write_animation(path: Path, frames: Frames, fps: float, kind: str) -> None:
    """A gif or webp that loops; a gif counts time in 1/100 s, so its rounding must not add up."""
    unit = 10 if kind == "gif" else 1
    edges = [round(index * 1000 / fps / unit) * unit for index in range(len(frames) + 1)]
    durations = [max(unit, after - before) for before, after in pairwise(edges)]
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(path, format=kind, save_all=True, append_images=rest, duration=durations, loop=0)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A path in the same folder to write to; renamed to `path` when all went well, removed when not."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise VideoError(f"{path}: cannot be written ({reason(error)}); choose another place") from error
    finally:
        if partial.exists():
            partial.unlink()
