"""Small video files of every awkward kind, made with PyAV where a test needs one."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from echoreel.media.images import Frames


def counting(frames: int, height: int = 48, width: int = 64) -> Frames:
    """Frames (T, H, W, 3) that tell their number by brightness; top left corner red, bottom left green."""
    film = np.empty((frames, height, width, 3), np.uint8)
    film[:] = (40 + 8 * (np.arange(frames) % 24))[:, None, None, None]
    film[:, : height // 4, : width // 4] = (220, 30, 30)
    film[:, -(height // 4) :, : width // 4] = (30, 200, 30)
    return film


def numbers(frames: Frames) -> list[int]:
    """The numbers that frames of `counting` tell, read in the middle, far from the coloured corners."""
    height, width = frames.shape[1:3]
    middle = frames[:, height // 3 : 2 * height // 3, width // 3 : 2 * width // 3].mean((1, 2, 3))
    return [round(float(value - 40) / 8) for value in middle]


def film(
    path: Path,
    frames: Frames,
    fps: float = 8,
    times: Sequence[float] | None = None,
    rotation: int | None = None,
    **stream_options: Any,
) -> Path:
    """Write frames (RGB or RGBA); `times` in seconds make a variable rate, `rotation` is metadata."""
    codec = stream_options.pop("codec", "libx264")
    options = stream_options.pop("options", {"crf": "8", "g": "12"})
    tick = Fraction(1, 1000)
    with av.open(str(path), "w", options=stream_options.pop("container_options", {})) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = stream_options.pop("pix_fmt", "yuv420p")
        for name, value in stream_options.items():
            setattr(stream.codec_context, name, value)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = tick
        container.start_encoding()
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgba" if frame.shape[-1] == 4 else "rgb24")
            if times is not None:
                picture.pts, picture.time_base = round(times[index] / tick), tick
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def sound(path: Path) -> Path:
    """A second of silence, and nothing to see."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
