"""Video file -> its frames in time, as stored: opening, checking, seeking, decoding (PyAV).

Videos are untrusted: only known containers are opened (no playlists, which could name other files),
and `VideoLimits` hold before and while decoding.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image
from pydantic import PositiveFloat, PositiveInt

from echoreel.common.errors import VideoEmpty, VideoMissing, VideoTooLarge, VideoUnreadable
from echoreel.common.places import regular_file
from echoreel.common.settings import Settings
from echoreel.media.animations import is_webp, reference_film, webp_film
from echoreel.media.deinterlacing import deinterlaced
from echoreel.media.reference_file import SUFFIX, is_reference_file
from echoreel.media.sample_tables import check_claims

CONTAINERS = "mov,mp4,matroska,webm,avi,gif,apng,mpegts,mpeg,flv,ogg,asf,mxf,ivf"  # ffmpeg's demuxer names
LEAST_PART = 0.5  # seconds of a video that somebody could take
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own decoders of these drop the alpha plane


class VideoLimits(Settings):
    """What a video may cost before it is refused with `VideoTooLarge`."""

    file_bytes: PositiveInt = 4 * 2**30
    seconds: PositiveFloat = 4 * 3600.0  # declared duration
    pixels: PositiveInt = 8192 * 4320  # of one frame
    pixel_aspect: PositiveFloat = 8.0  # of a pixel's width to its height, or the other way round
    decoded_frames: PositiveInt = 20_000  # in one call, wanted or not
    decoded_pixels: PositiveInt = 20_000 * 1920 * 1080  # in one call, of all frames
    kept_bytes: PositiveInt = 3 * 2**29  # of the frames returned


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
    def is_avi(self) -> bool:
        return self.container.format.name == "avi"

    @property
    def rate(self) -> float | None:
        """Frames a second; of AVI the counted rate, since what it declares may be that of its clock."""
        rate = self.stream.guessed_rate if self.is_avi else self.stream.average_rate
        return float(rate) if rate else None

    @property
    def step(self) -> float:
        return 1 / (self.rate or 25)

    @property
    def duration(self) -> float | None:
        if self.stream.duration is not None:
            return float(self.stream.duration * self.tick)
        if self.container.duration is None:
            return None
        # Matroska tells when the last frame ends, not how long it all takes.
        began = (
            float((self.stream.start_time or 0) * self.tick)
            if "matroska" in self.container.format.name
            else 0
        )
        return max(0.0, self.container.duration / av.time_base - began)

    @property
    def pixel_aspect(self) -> float:
        """Width of a stored pixel over its height."""
        return float(self.stream.sample_aspect_ratio or 1)


@contextmanager
def opened(path: Path, limits: VideoLimits) -> Iterator[Source]:
    """The video, after every check that needs no decoding."""
    size = regular_file(path, VideoMissing, "a video file").st_size
    if size == 0:
        raise VideoEmpty(f"{path.name}: the file is empty (0 bytes); download or export it again")
    if size > limits.file_bytes:
        raise VideoTooLarge(f"{path.name}: {size} bytes, at most {limits.file_bytes}; cut it first")
    with _container(path, limits) as container:
        source = Source(path, container, _shown_stream(path, container), limits)
        if source.duration is not None and source.duration > limits.seconds:
            raise VideoTooLarge(
                f"{path.name}: {source.duration:.0f} s, at most {limits.seconds:.0f} s; cut it first"
            )
        if not 1 / limits.pixel_aspect <= source.pixel_aspect <= limits.pixel_aspect:
            raise VideoUnreadable(
                f"{path.name}: its pixels are {source.pixel_aspect:g} times as wide as high; "
                "export it again, with square pixels"
            )
        _check_pixels(source, source.stream.codec_context)
        source.stream.codec_context.options = {"max_pixels": str(limits.pixels)}
        yield source


def _container(path: Path, limits: VideoLimits) -> InputContainer:
    if path.suffix.lower() == SUFFIX:
        return av.open(reference_film(path), mode="r")
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        with path.open("rb") as file:
            webp = is_webp(file.read(12))
        if webp:
            film = webp_film(path, limits.decoded_frames, limits.decoded_pixels)
            return av.open(film, mode="r")
        check_claims(path)
        return av.open(f"file:{path.absolute()}", container_options=options)
    except VideoTooLarge:
        raise
    except (MemoryError, Image.DecompressionBombError) as error:
        told = error if isinstance(error, MemoryError) else "its pixels"
        raise VideoTooLarge(f"{path.name}: {told} are too many to decode; make it smaller first") from error
    except (av.FFmpegError, OSError, ValueError, EOFError, SyntaxError) as error:
        raise VideoUnreadable(
            f"{path.name}: not a readable video ({reason(error)}); export it again, for example as mp4"
        ) from error


def _shown_stream(path: Path, container: InputContainer) -> VideoStream:
    """The stream that a player shows: no cover, rather a film than a still, the default one, the largest."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        what = "only sound" if container.streams.audio else "no video stream"
        raise VideoEmpty(f"{path.name}: holds {what}; give a file with pictures")
    known = [s for s in streams if s.codec_context is not None]  # None there is, whatever PyAV's types say
    if not known:
        raise VideoUnreadable(f"{path.name}: its codec is unknown; export it again, for example as mp4")
    return max(
        known, key=lambda s: (s.frames != 1, bool(s.disposition & Disposition.default), s.width * s.height)
    )


def _check_pixels(source: Source, picture: av.VideoCodecContext | av.VideoFrame) -> None:
    if picture.width * picture.height * source.pixel_aspect > source.limits.pixels:
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
    """(seconds from the file's first frame, frame), at least one, from where the container stands on.

    Of interlaced frames both fields are shown as one whole picture.
    """
    name, time, count = source.path.name, 0.0, 0
    try:
        for time, frame in deinterlaced(_timed(source)):
            count += 1
            yield time, frame
    except (av.FFmpegError, EOFError) as error:
        where = "before its first frame" if count == 0 else f"after {time:.2f} s"
        earlier = "choose an earlier part or " if time > LEAST_PART else ""
        raise VideoUnreadable(
            f"{name}: damaged {where} ({reason(error)}); {earlier}export it again"
        ) from error
    if count == 0:
        raise VideoEmpty(f"{name}: its video stream holds no frames; export it again")
    declared = float((source.stream.duration or 0) * source.tick)
    if time < 0.95 * declared - 0.5 - source.step:
        raise VideoUnreadable(
            f"{name}: cut off after {time:.2f} s of {declared:.2f} s; take an earlier part or export it again"
        )


def _timed(source: Source) -> Iterator[tuple[float, av.VideoFrame]]:
    """Frames as they are stored, each with its time, within the limits."""
    limits, decoder = source.limits, _decoder(source.stream)
    time, count, pixels, due = -source.step, 0, 0, deque[int | None]()
    for packet in source.container.demux(source.stream):
        if source.is_avi and packet.size:
            due.append(packet.dts)
        for frame in decoder.decode(packet):
            _check_pixels(source, frame)
            pixels += frame.width * frame.height
            if count == limits.decoded_frames or pixels > limits.decoded_pixels:
                raise VideoTooLarge(
                    f"{source.path.name}: more than {count} frames to decode; "
                    "ask for an earlier or shorter part"
                )
            # AVI stores no times: frames appear in the order and at the times of its packets.
            ticks = due.popleft() if due else frame.pts
            stamp = None if ticks is None else float((ticks - (source.stream.start_time or 0)) * source.tick)
            if stamp is None or (count > 0 and stamp <= time):  # none, or backwards
                stamp = time + source.step
            time = stamp
            count += 1
            yield time, frame


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


SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".apng", ".mpg", ".mpeg", ".ts", ".m2ts"),
    *(".flv", ".ogv", ".wmv", ".asf", ".mxf", ".ivf", ".mts", ".m2t", ".3gp", ".3g2", ".vob", ".qt", ".f4v"),
    *(".divx", ".mpe", ".mk3d", ".ogm"),
)


def named_as_video(path: Path) -> bool:
    """Whether a file of a folder is taken for a video, or is a reference file among other safetensors."""
    hidden = path.name.startswith(".")
    return not hidden and (path.suffix.lower() in SUFFIXES or is_reference_file(path))
