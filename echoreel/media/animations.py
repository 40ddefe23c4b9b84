"""Animated WebP -> a film in memory that FFmpeg can read: it knows only stills of this kind, Pillow both."""

import warnings
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageSequence

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
        stream = container.add_stream("png", rate=1000, options={"compression_level": "1"})
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "rgba"
        stream.codec_context.time_base = MILLISECOND
        time = 0
        for one in ImageSequence.Iterator(picture):
            one.load()  # its duration is known from here on
            frame = av.VideoFrame.from_ndarray(np.asarray(one.convert("RGBA")), format="rgba")
            frame.pts, frame.time_base = time, MILLISECOND
            shown = int(one.info.get("duration") or DEFAULT_MS)
            time += shown
            for packet in stream.encode(frame):
                packet.duration = round(shown * MILLISECOND / packet.time_base)
                container.mux(packet)
        container.mux(stream.encode())
    film.seek(0)
    return film
