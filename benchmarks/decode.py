"""Decoding 16 frames of a 10 s 512x320 video and resizing them, by us and by every other library installed.

    python benchmarks/decode.py [--repeats N] [--out FILE.json]

Installed beside this package they are measured too: opencv-python-headless, decord or decord2,
imageio-ffmpeg, torchcodec. Each reads every fourth of the first 61 frames, and of those from 6 s on, at
256x160, in its own usual way. Rounds go over all libraries in turn, so that a busy machine is equally bad
for all; the numbers are the median of the rounds, the least, and the median of the processor time.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoreel.media.video_files import Span, read_frames, write_video

Frames = NDArray[np.uint8]
FPS, SECONDS, HEIGHT, WIDTH = 30, 10, 320, 512
SIZE = (160, 256)  # height, width
COUNT, STRIDE = 16, 4


def film(path: Path) -> None:
    """A video of moving noise over a moving gradient, about as hard to decode as a filmed one."""
    chance = np.random.default_rng(0)
    texture = chance.integers(0, 60, (HEIGHT, WIDTH * 2, 3)).astype(np.uint8)
    ramp = np.linspace(0, 190, WIDTH).astype(np.uint8)
    frames = [np.roll(ramp, 3 * t)[None, :, None] + texture[:, t : t + WIDTH] for t in range(FPS * SECONDS)]
    write_video(path, np.stack(frames), FPS)


def ours(path: Path, start: int) -> Frames:
    return read_frames(path, Span(start=start / FPS, stride=STRIDE, frames=COUNT), SIZE).frames


def opencv(path: Path, start: int) -> Frames:
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


def decord(path: Path, start: int) -> Frames:
    import decord as library

    reader = library.VideoReader(str(path), width=SIZE[1], height=SIZE[0])
    found = reader.get_batch(range(start, start + COUNT * STRIDE, STRIDE))
    return found.asnumpy()


def imageio(path: Path, start: int) -> Frames:
    import imageio_ffmpeg

    chosen = f"select=not(mod(n\\,{STRIDE})),scale={SIZE[1]}:{SIZE[0]}:flags=area"
    reader = imageio_ffmpeg.read_frames(
        str(path), input_params=["-ss", str(start / FPS)],
        output_params=["-vf", chosen, "-fps_mode", "passthrough", "-frames:v", str(COUNT)],
    )  # fmt: skip
    next(reader)
    return np.stack([np.frombuffer(one, np.uint8).reshape(*SIZE, 3) for one in reader])


def torchcodec(path: Path, start: int) -> Frames:
    from PIL import Image
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), dimension_order="NHWC", seek_mode="approximate")
    found = decoder.get_frames_at(list(range(start, start + COUNT * STRIDE, STRIDE))).data.numpy()
    pictures = [Image.fromarray(one).resize(SIZE[::-1], Image.Resampling.BOX) for one in found]
    return np.stack([np.asarray(picture) for picture in pictures])


READERS: dict[str, tuple[str, Callable[[Path, int], Frames]]] = {
    "echoreel": ("echoreel", ours),
    "opencv": ("cv2", opencv),
    "decord": ("decord", decord),
    "imageio-ffmpeg": ("imageio_ffmpeg", imageio),
    "torchcodec": ("torchcodec", torchcodec),
}


def measure(repeats: int) -> dict[str, dict[str, float | str]]:
    """Milliseconds of each library that is installed and works."""
    readers = {name: read for name, (module, read) in READERS.items() if find_spec(module)}
    results: dict[str, dict[str, float | str]] = {name: {} for name in readers}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        film(path)
        for what, start in (("first", 0), ("from_6s", 6 * FPS)):
            times: dict[str, list[tuple[float, float]]] = {}
            truth = ours(path, start).astype(int)
            for name, read in readers.items():
                try:
                    found = read(path, start)
                except Exception as error:  # a library that does not run here is told, not measured
                    results[name][what] = f"failed: {error}"[:100]
                    continue
                results[name][f"{what}_difference"] = round(float(np.abs(found - truth).mean()), 2)
                times[name] = []
            for _ in range(repeats):
                for name, rounds in times.items():
                    began = time.perf_counter(), time.process_time()
                    readers[name](path, start)
                    rounds.append((time.perf_counter() - began[0], time.process_time() - began[1]))
            for name, rounds in times.items():
                wall, processor = zip(*rounds, strict=True)
                results[name][f"{what}_ms"] = round(1e3 * statistics.median(wall), 1)
                results[name][f"{what}_least_ms"] = round(1e3 * min(wall), 1)
                results[name][f"{what}_processor_ms"] = round(1e3 * statistics.median(processor), 1)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result = {
        "machine": f"{platform.machine()}, python {platform.python_version()}, av {version('av')}",
        "libraries": measure(arguments.repeats),
    }
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
