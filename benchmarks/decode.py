"""Decoding 16 frames of a video and resizing them, by us and by every other library installed.

    python benchmarks/decode.py [KIND ...] [--repeats N] [--out FILE.json]

Kinds are those that phones make, 1280x720 with a key frame only at the start: `h264`, `hevc10` (10 bit) and
`60fps`; and `small`, 512x320 as `write_video` writes it. Installed beside this package these are measured
too: opencv-python-headless, decord or decord2, imageio-ffmpeg, torchcodec. Each reads every fourth of the
first 61 frames, and of those from the middle on, in its own usual way, at 160 pixels high. Rounds go over all
libraries in turn, so that a busy machine is equally bad for all. The numbers are the median of the rounds,
the least, and the median and the least of the processor time.
"""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from results import parser_of, tell

from echoreel.media.video_files import Span, read_frames, write_video

Frames = NDArray[np.uint8]
SIZE = (160, 256)  # height, width
COUNT, STRIDE = 16, 4


class Kind(NamedTuple):
    """A kind of video; without a codec as we write them."""

    height: int
    width: int
    fps: int
    frames: int
    codec: str = ""
    pixels: str = "yuv420p"
    options: dict[str, str] | None = None


LONG = {"preset": "veryfast", "g": "1000", "sc_threshold": "0"}  # one key frame
KINDS = {
    "small": Kind(320, 512, 30, 300),
    "h264": Kind(720, 1280, 30, 240, "libx264", "yuv420p", LONG),
    "hevc10": Kind(
        720, 1280, 30, 240, "libx265", "yuv420p10le",
        {"preset": "ultrafast", "x265-params": "keyint=1000:scenecut=0:log-level=none"},
    ),
    "60fps": Kind(720, 1280, 60, 360, "libx264", "yuv420p", LONG),
}  # fmt: skip


def film(path: Path, kind: Kind) -> None:
    """A video of moving noise over a moving gradient, about as hard to decode as a filmed one."""
    chance = np.random.default_rng(0)
    texture = chance.integers(0, 60, (kind.height, kind.width + kind.frames, 3)).astype(np.uint8)
    ramp = np.linspace(0, 190, kind.width).astype(np.uint8)
    frames = (
        np.roll(ramp, 3 * t)[None, :, None] + texture[:, t : t + kind.width] for t in range(kind.frames)
    )
    if not kind.codec:
        write_video(path, np.stack([*frames]), kind.fps)
        return
    with av.open(str(path), "w") as container:
        stream = container.add_stream(kind.codec, rate=kind.fps, options=kind.options)
        stream.height, stream.width, stream.pix_fmt = kind.height, kind.width, kind.pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def ours(path: Path, start: int, fps: int) -> Frames:
    return read_frames(path, Span(start=start / fps, stride=STRIDE, frames=COUNT), SIZE).frames


def opencv(path: Path, start: int, fps: int) -> Frames:
    import cv2

    capture, frames = cv2.VideoCapture(str(path)), []
    if start:
        capture.set(cv2.CAP_PROP_POS_FRAMES, start)
    for number in range((COUNT - 1) * STRIDE + 1):
        capture.grab()
        if number % STRIDE == 0:
            picture = cv2.resize(capture.retrieve()[1], SIZE[::-1], interpolation=cv2.INTER_AREA)
            frames.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def decord(path: Path, start: int, fps: int) -> Frames:
    import decord as library

    reader = library.VideoReader(str(path), width=SIZE[1], height=SIZE[0])
    found = reader.get_batch(range(start, start + COUNT * STRIDE, STRIDE))
    return found.asnumpy()


def imageio(path: Path, start: int, fps: int) -> Frames:
    import imageio_ffmpeg

    chosen = f"select=not(mod(n\\,{STRIDE})),scale={SIZE[1]}:{SIZE[0]}:flags=area"
    reader = imageio_ffmpeg.read_frames(
        str(path), input_params=["-ss", str(start / fps)],
        output_params=["-vf", chosen, "-fps_mode", "passthrough", "-frames:v", str(COUNT)],
    )  # fmt: skip
    next(reader)
    return np.stack([np.frombuffer(one, np.uint8).reshape(*SIZE, 3) for one in reader])


def torchcodec(path: Path, start: int, fps: int) -> Frames:
    from PIL import Image
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), dimension_order="NHWC", seek_mode="approximate")
    found = decoder.get_frames_at(list(range(start, start + COUNT * STRIDE, STRIDE))).data.numpy()
    pictures = [Image.fromarray(one).resize(SIZE[::-1], Image.Resampling.BOX) for one in found]
    return np.stack([np.asarray(picture) for picture in pictures])


READERS: dict[str, tuple[str, Callable[[Path, int, int], Frames]]] = {
    "echoreel": ("echoreel", ours),
    "opencv": ("cv2", opencv),
    "decord": ("decord", decord),
    "imageio-ffmpeg": ("imageio_ffmpeg", imageio),
    "torchcodec": ("torchcodec", torchcodec),
}


def measure(kind: Kind, repeats: int) -> dict[str, dict[str, float | str]]:
    """Milliseconds of each library that is installed and works."""
    readers = {name: read for name, (module, read) in READERS.items() if find_spec(module)}
    results: dict[str, dict[str, float | str]] = {name: {} for name in readers}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        film(path, kind)
        for what, start in (("first", 0), ("middle", kind.frames // 2)):
            times: dict[str, list[tuple[float, float]]] = {}
            truth = ours(path, start, kind.fps).astype(int)
            for name, read in readers.items():
                try:
                    found = read(path, start, kind.fps)
                except Exception as error:  # a library that does not run here is told, not measured
                    results[name][what] = f"failed: {error}"[:100]
                    continue
                results[name][f"{what}_difference"] = round(float(np.abs(found - truth).mean()), 2)
                times[name] = []
            for _ in range(repeats):
                for name, rounds in times.items():
                    began = time.perf_counter(), time.process_time()
                    readers[name](path, start, kind.fps)
                    rounds.append((time.perf_counter() - began[0], time.process_time() - began[1]))
            for name, rounds in times.items():
                wall, processor = zip(*rounds, strict=True)
                results[name][f"{what}_ms"] = round(1e3 * statistics.median(wall), 1)
                results[name][f"{what}_least_ms"] = round(1e3 * min(wall), 1)
                results[name][f"{what}_processor_ms"] = round(1e3 * statistics.median(processor), 1)
                results[name][f"{what}_least_processor_ms"] = round(1e3 * min(processor), 1)
    return results


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; none: all")
    parser.add_argument("--repeats", type=int, default=21)
    arguments = parser.parse_args()
    result = {
        "machine": f"{platform.machine()}, python {platform.python_version()}, av {version('av')}",
        "load": os.getloadavg()[0],
        "kinds": {name: measure(KINDS[name], arguments.repeats) for name in arguments.kinds or KINDS},
    }
    tell(result, arguments.out)


if __name__ == "__main__":
    main()
