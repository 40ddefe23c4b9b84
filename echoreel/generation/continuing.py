"""Window after window: each begins with the last frame of the one before, and is kept until all are done."""

import hashlib
import io
import math
import tokenize
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias
from zlib import crc32

import numpy as np

from echoreel.common.files import write_atomic
from echoreel.common.places import check_ends
from echoreel.generation.windows import Plan
from echoreel.media.images import Frames

HEADER_BYTES = 256  # of a window's file, which says its shape
SUM_BYTES = 4  # behind the frames

FilmWindow: TypeAlias = Callable[[int, Frames | None], Frames]
"""Makes the window of this number from a first frame (H, W, 3): (T, H, W, 3)."""


def seed_of_window(seed: int, number: int) -> int:
    """Each window has noise of its own; the first has that of a short video with this seed."""
    if number == 0:
        return seed
    return int(np.random.default_rng([seed, number]).integers(2**63))


class WindowFolder:
    """Finished windows of one video in a folder, named by all that the video is made from."""

    def __init__(self, folder: Path, windows: int) -> None:
        self._folder, self._count = folder, windows

    def read(self, number: int, length: int) -> Frames | None:
        """The window of so many frames, if it is there whole: the file may be of somebody else."""
        file, form = self._file(number), np.lib.format
        try:
            check_ends(file)
            with file.open("rb") as stream:
                form.read_magic(stream)
                shape, by_columns, kind = form.read_array_header_1_0(stream, max_header_size=HEADER_BYTES)
                if len(shape) != 4 or (shape[0], shape[3]) != (length, 3) or kind != np.uint8 or by_columns:
                    return None
                more = file.stat().st_size - stream.tell() - math.prod(shape)
                if min(shape) < 1 or more not in (0, SUM_BYTES):
                    return None
                frames: Frames = np.fromfile(stream, np.uint8, math.prod(shape)).reshape(shape)
                told = stream.read()  # nothing: of an older version
                return frames if told in (b"", self._sum(number, frames)) else None
        except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError):
            return None

    def write(self, number: int, frames: Frames) -> None:
        """Raises OutputError."""
        file = io.BytesIO()
        np.save(file, frames)
        file.write(self._sum(number, frames))
        write_atomic(self._file(number), file.getvalue())

    def remove(self) -> None:
        """What it wrote, and the folders around it that are empty then."""
        for number in range(self._count):
            self._file(number).unlink(missing_ok=True)
        for folder in (self._folder, self._folder.parent):
            if folder.is_dir() and not any(folder.iterdir()):
                with suppress(OSError):  # a link, or no permission: the videos are written, so it may stay
                    folder.rmdir()

    def _sum(self, number: int, frames: Frames) -> bytes:
        """CRC-32 of the frames, as a window of this number of this video."""
        named = crc32(f"{self._folder.name} {self._file(number).name}".encode())
        return crc32(np.ascontiguousarray(frames).data, named).to_bytes(SUM_BYTES, "little")

    def _file(self, number: int) -> Path:
        return self._folder / f"window-{number + 1}-of-{self._count}.npy"


def continued(
    plan: Plan, film_window: FilmWindow, image: Frames | None, folder: WindowFolder | None
) -> Frames:
    """All frames (T, H, W, 3) of a video that goes on from its last frame, window after window.

    Windows that are in the folder are not made again, unless they do not fit each other. Raises
    what `film_window` raises, OutputError.
    """
    parts: list[Frames] = []
    image_at_first = image
    for number in range(len(plan.windows)):
        frames = None if folder is None else folder.read(number, plan.length)
        if frames is None:
            frames = film_window(number, image)
            if folder is not None:
                folder.write(number, frames)
        if folder is not None and parts and frames.shape != parts[0].shape:
            return continued(plan, film_window, image_at_first, None)  # one of them is of another video
        image = frames[-1]
        parts.append(frames if number == 0 else frames[1:])
    return np.concatenate(parts)


def key_of(*told: object) -> str:
    """Names a video by all that it is made from; arrays by what is in them."""
    digest = hashlib.sha256()
    for each in told:
        digest.update(each.tobytes() if isinstance(each, np.ndarray) else repr(each).encode())
        digest.update(b"|")
    return digest.hexdigest()[:24]
