"""Video file -> its frames in time, as stored: opening, checking, seeking, decoding (PyAV).

Videos are untrusted: only known containers are opened (no playlists, which could name other files),
and `VideoLimits` hold before and while decoding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream
from pydantic import PositiveFloat, PositiveInt

from echoreel.common.errors import VideoEmpty, VideoMissing, VideoTooLarge, VideoUnreadable
from echoreel.common.settings import Settings
from echoreel.media.images import GREY, Frames

CONTAINERS = "mov,mp4,matroska,webm,avi,gif,apng,mpegts,mpeg,flv,ogg,asf,mxf,ivf"  # ffmpeg's demuxer names
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own decoders of these drop the alpha plane


class VideoLimits(Settings):
    """What a video may cost before it is refused with `VideoTooLarge`."""

    file_bytes: PositiveInt = 4 * 2**30
    seconds: PositiveFloat = 4 * 3600.0  # declared duration
    pixels: PositiveInt = 8192 * 4320  # of one frame
    decoded_frames: PositiveInt = 20_000  # in one call, wanted or not
    kept_bytes: PositiveInt = 4 * 2**30  # of the frames returned


@dataclass(frozen=True)
class Source:
    """An opened video: its container, its video stream, and what they declare (seconds)."""

    path: Path
    container: InputContainer
    stream: VideoStream
    limits: VideoLimits

    @property
    def tick(self) -> Fraction:
        return self.stream.time_base or Fraction(1, 1000)

    @property
    def slack(self) -> float:
        """Containers round times to their tick (1/24 s is 0.042 s in Matroska): nearer times are equal."""
        return min(float(self.tick), 0.01) + 1e-6

    @property
    def step(self) -> float:
        return 1 / float(self.stream.average_rate or 25)

    @property
    def duration(self) -> float | None:
        if self.stream.duration is not None:
            return float(self.stream.duration * self.tick)
        return None if self.container.duration is None else self.container.duration / av.time_base

    @property
    def pixel_aspect(self) -> float:
        """Width of a stored pixel over its height."""
        return float(self.stream.sample_aspect_ratio or 1)


@contextmanager
def opened(path: Path, limits: VideoLimits) -> Iterator[Source]:
    """The video, after every check that needs no decoding."""
    if not path.is_file():
        what = "this is a folder" if path.is_dir() else "there is no such file"
        raise VideoMissing(f"{path}: {what}; give the path of a video file")
    if (size := path.stat().st_size) == 0:
        raise VideoEmpty(f"{path.name}: the file is empty (0 bytes); download or export it again")
    if size > limits.file_bytes:
        raise VideoTooLarge(f"{path.name}: {size} bytes, at most {limits.file_bytes}; cut it first")
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path.absolute()}", container_options=options)
    except (av.FFmpegError, OSError, UnicodeError) as error:
        raise VideoUnreadable(
            f"{path.name}: not a video that can be read ({reason(error)}); export it again, as mp4 say"
        ) from error
    with container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            what = "only sound" if container.streams.audio else "no video stream"
            raise VideoEmpty(f"{path.name}: holds {what}; give a file with pictures")
        source = Source(path, container, streams[0], limits)
        if streams[0].codec_context is None:  # as PyAV has it, whatever its types say
            raise VideoUnreadable(f"{path.name}: of a codec that is not known; export it again, as mp4 say")
        if source.duration is not None and source.duration > limits.seconds:
            raise VideoTooLarge(
                f"{path.name}: {source.duration:.0f} s, at most {limits.seconds:.0f} s; cut it first"
            )
        _check_pixels(source, streams[0].codec_context)
        streams[0].codec_context.options = {"max_pixels": str(limits.pixels)}
        yield source


def _check_pixels(source: Source, picture: av.VideoCodecContext | av.VideoFrame) -> None:
    if picture.width * picture.height > source.limits.pixels:
        raise VideoTooLarge(
            f"{source.path.name}: frames of {picture.width}x{picture.height}, "
            f"at most {source.limits.pixels} pixels; make it smaller first"
        )


def reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _decoder(stream: VideoStream) -> av.VideoCodecContext:
    """The stream's own decoder, or one that keeps the alpha plane where the stream declares one."""
    own = stream.codec_context
    if stream.metadata.get("alpha_mode") != "1" or own.name not in ALPHA_DECODERS:
        return own
    decoder = cast(av.VideoCodecContext, av.CodecContext.create(ALPHA_DECODERS[own.name], "r"))
    decoder.extradata = own.extradata
    return decoder


def decoded(source: Source) -> Iterator[tuple[float, av.VideoFrame]]:
    """(seconds from the file's first frame, frame), at least one, from where the container stands on."""
    name, limits, decoder = source.path.name, source.limits, _decoder(source.stream)
    origin = source.stream.start_time or 0
    time, count = -source.step, 0
    try:
        for packet in source.container.demux(source.stream):
            for frame in decoder.decode(packet):
                if count == limits.decoded_frames:
                    raise VideoTooLarge(
                        f"{name}: more than {count} frames to decode; ask for an earlier or shorter part"
                    )
                _check_pixels(source, frame)
                stamp = None if frame.pts is None else float((frame.pts - origin) * source.tick)
                if stamp is None or (count > 0 and stamp <= time):  # none, or backwards, as of h264 in avi
                    stamp = time + source.step
                time = stamp
                count += 1
                yield time, frame
    except (av.FFmpegError, EOFError) as error:
        where = "before its first frame" if count == 0 else f"after {time:.2f} s"
        raise VideoUnreadable(
            f"{name}: damaged {where} ({reason(error)}); choose an earlier part or export it again"
        ) from error
    if count == 0:
        raise VideoEmpty(f"{name}: its video stream holds no frames; export it again")
    declared = float((source.stream.duration or 0) * source.tick)
    if time < 0.95 * declared - 0.5 - source.step:
        raise VideoUnreadable(
            f"{name}: cut off after {time:.2f} s of {declared:.2f} s; take an earlier part or export it again"
        )


def decoded_from(source: Source, start: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """As `decoded`, from a frame at or before `start` on: by seeking where the file's index allows it."""
    if start == 0:
        yield from decoded(source)
        return
    origin = source.stream.start_time or 0
    try:
        source.container.seek(origin + int(start / source.tick), stream=source.stream)
        frames = decoded(source)
        first = next(frames)
    except (av.FFmpegError, VideoUnreadable, VideoEmpty):
        first = None
    if first is not None and first[0] <= start + source.slack:
        yield first
        yield from frames
        return
    with opened(source.path, source.limits) as again:  # some containers cannot seek back
        yield from decoded(again)


def shown_size(frame: av.VideoFrame, pixel_aspect: float) -> tuple[int, int]:
    """(height, width) of a frame on a screen: upright, with square pixels."""
    height, width = frame.height, max(1, round(frame.width * pixel_aspect))
    return (width, height) if frame.rotation % 180 else (height, width)


def shown_aspect(frame: av.VideoFrame, source: Source) -> float:
    """Width over height of a pixel once the frame is upright."""
    return 1 / source.pixel_aspect if frame.rotation % 180 else source.pixel_aspect


def upright(frame: av.VideoFrame) -> Frames:
    """RGB (H, W, 3) as stored, alpha over grey, then turned and mirrored by the display matrix."""
    # Players read untagged (2) HD video as BT.709; swscale would not.
    colours = Colorspace.ITU709 if frame.colorspace == 2 and frame.height >= 720 else None
    if has_alpha(frame):
        rgba = frame.to_ndarray(format="rgba", src_colorspace=colours).astype(np.uint16)
        alpha = rgba[..., 3:]
        rgb = ((rgba[..., :3] * alpha + GREY * (255 - alpha) + 127) // 255).astype(np.uint8)
    else:
        rgb = cast(Frames, frame.to_ndarray(format="rgb24", src_colorspace=colours))
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return rgb
    # x' = a x + c y, y' = b x + d y, y downwards (ISO 14496-12, 6.2.2): quarter turns and mirrors only.
    a, b, _, c, d = np.frombuffer(cast(bytes, matrix), np.int32)[:5]
    if abs(a) < abs(c):
        rgb = rgb.transpose(1, 0, 2)
        a, d = c, b
    return rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def has_alpha(frame: av.VideoFrame) -> bool:
    return any(component.is_alpha for component in frame.format.components)


SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".apng", ".mpg", ".mpeg", ".ts", ".m2ts"),
    *(".flv", ".ogv", ".wmv", ".asf", ".mxf", ".ivf"),
)
