"""What FFmpeg does not read -> a film in memory that it does: animated WebP, and reference files of ours."""

import warnings
from collections.abc import Iterable, Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from echoreel.media.reference_file import read_reference

MILLISECOND = Fraction(1, 1000)
DEFAULT_MS = 100  # that a frame stays where the file says 0, as browsers have it


def is_webp(head: bytes) -> bool:
    """Whether a file that begins with these 12 bytes is a WebP."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def webp_film(path: Path, most_frames: int, most_pixels: int) -> BytesIO:
    """The animation, lossless, with alpha and times, as a .mov. Raises OSError, ValueError, MemoryError."""
    film = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        picture = Image.open(path, formats=("WEBP",))
    with picture, av.open(film, "w", format="mov") as container:
        frames = getattr(picture, "n_frames", 1)
        if frames > most_frames or frames * picture.width * picture.height > most_pixels:
            raise MemoryError(f"{frames} frames of {picture.width}x{picture.height}")
        _write(container, _pictures(picture), (picture.height, picture.width), "rgba")
    film.seek(0)
    return film


def reference_film(path: Path) -> BytesIO:
    """The frames of a reference file, lossless, at its rate, as a .mov. Raises VideoError's family."""
    film, stored = BytesIO(), read_reference(path)
    shown = np.diff(np.round(np.arange(len(stored.frames) + 1) * 1000 / stored.fps).astype(int)).clip(1)
    with av.open(film, "w", format="mov") as container:
        frames = zip(stored.frames, shown.tolist(), strict=True)
        _write(container, frames, stored.frames.shape[1:3], "rgb24")
    film.seek(0)
    return film


def _pictures(picture: Image.Image) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Every picture of an animation (H, W, 4), with the milliseconds that it stays."""
    for one in ImageSequence.Iterator(picture):
        one.load()  # its duration is known from here on
        yield np.asarray(one.convert("RGBA")), int(one.info.get("duration") or DEFAULT_MS)


def _write(
    container: OutputContainer,
    frames: Iterable[tuple[NDArray[np.uint8], int]],
    size: tuple[int, int],
    pixels: str,
) -> None:
    """Frames of one size (height, width), each with the milliseconds that it stays."""
    stream = container.add_stream("png", rate=1000, options={"compression_level": "1"})
    stream.height, stream.width = size
    stream.pix_fmt = pixels
    stream.codec_context.time_base = MILLISECOND
    time = 0
    for picture, shown in frames:
        frame = av.VideoFrame.from_ndarray(picture, format=pixels)
        frame.pts, frame.time_base = time, MILLISECOND
        time += shown
        for packet in stream.encode(frame):
            packet.duration = round(shown * MILLISECOND / packet.time_base)
            container.mux(packet)
    container.mux(stream.encode())
