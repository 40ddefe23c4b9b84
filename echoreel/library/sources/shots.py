"""Videos -> shots -> clips: what a folder holds, cut where the camera cuts, each with its caption and look.

PySceneDetect finds the cuts; the frames come from `decode`, under its limits. A file that cannot be used is a
VideoError for the caller to list.
"""

import hashlib
import logging
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from echoreel.common.errors import ClipTooShort, VideoMissing
from echoreel.common.extras import needs
from echoreel.common.places import resolved
from echoreel.common.settings import Longest, Seconds, Settings
from echoreel.library.sources.captions import Said, captions_of
from echoreel.media.colours import upright
from echoreel.media.decoding import VideoLimits, decoded, opened
from echoreel.media.images import Frames, fitted
from echoreel.media.reference_video import DEFAULT_FPS, DEFAULT_FRAMES
from echoreel.media.video_files import Span, probe, read_frames

LOOK_SIZE = (48, 64)  # (height, width) at which looks are compared
CUT_SIZE = (72, 128)  # (height, width) at which cuts are found
MIN_SHOT, MIN_SHOT_FRAMES = 0.5, 3  # seconds and frames between two cuts; nearer ones are a flash
CUT_LIMITS = VideoLimits(decoded_frames=1_000_000, decoded_pixels=10**13)  # a whole film


class ClipSettings(Settings):
    """How videos become clips; all in seconds."""

    longest: Longest = 12.0  # longer shots are cut into equal parts
    shortest: Seconds = 1.0  # shorter shots are left out


class Cuts(NamedTuple):
    """Seconds: when a video ends, and when shots begin but the first."""

    end: float
    times: list[float]


@dataclass(frozen=True, slots=True)
class FoundClip:
    """A part of a video file that can be used as a reference."""

    path: Path
    content: int  # of the file: the same for copies of it
    start: float  # seconds
    end: float | None  # seconds; None = to the end of the file
    caption: str
    look: tuple[float, ...]  # as `look_of`
    motion: float  # as `motion_of`


def content_of(path: Path) -> int:
    """A number (64 bits, signed) that only files of the same bytes have. Raises VideoError's family.

    So it does for a link to elsewhere: a clip is only read below the folder that its video is in.
    """
    if path.is_symlink() and not (there := resolved(path)).is_relative_to(resolved(path.parent)):
        raise VideoMissing(f"{path}: is a link to another folder; add {there.parent}, or move the video here")
    with opened(path, VideoLimits()):  # before reading what may be endless or no video
        pass
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=8)).digest()
    except OSError as error:
        raise VideoMissing(
            f"{path}: cannot be read ({error.strerror}); make it readable for this user"
        ) from error
    return int.from_bytes(digest, "little", signed=True)


def read_clips(path: Path, content: int, said: list[Said], settings: ClipSettings) -> list[FoundClip]:
    """The clips of a video file, each looked at, one for each caption of a part.

    Raises VideoError's family, MissingExtra.
    """
    duration = probe(path).duration
    parts = find_parts(path, settings)
    if not parts:
        raise ClipTooShort(f"{path.name}: no shot of {settings.shortest:g} s or more; lower --shortest")
    clips = []
    for start, end in parts:
        until = end if end is not None else duration or start + settings.longest
        span = Span(start=start, end=end, fps=DEFAULT_FPS, frames=DEFAULT_FRAMES)
        frames = read_frames(path, span, size=LOOK_SIZE)
        if len(np.unique(frames.timestamps)) < 2:
            raise ClipTooShort(f"{path.name}: 1 frame, need at least 2 to see an action; give a video")
        look, motion = look_of(frames.frames), motion_of(frames.frames)
        captions = captions_of(said, start, until)
        clips += [FoundClip(path, content, start, end, text, look, motion) for text in captions]
    return clips


def find_parts(path: Path, settings: ClipSettings) -> list[tuple[float, float | None]]:
    """(start, end) in seconds of every shot, long ones in equal parts; (0, None) for a whole short video.

    Raises VideoError's family.
    """
    end, cuts = find_cuts(path)
    if not cuts and end <= settings.longest:
        return [(0.0, None)]
    parts: list[tuple[float, float | None]] = []
    for start, stop in pairwise([0.0, *cuts, end]):
        if stop - start < settings.shortest:
            continue
        count = ceil((stop - start) / settings.longest - 1e-6)
        inner = [float(edge) for edge in np.linspace(start, stop, count + 1)]
        parts += pairwise(inner)
    return parts


def look_of(frames: Frames) -> tuple[float, ...]:
    """24 numbers from 0 to 1: mean and spread of red, green, blue in each quarter of frames (T, H, W, 3)."""
    halves = [half for rows in np.array_split(frames, 2, axis=1) for half in np.array_split(rows, 2, axis=2)]
    numbers = [value for half in halves for value in (half.mean((0, 1, 2)) / 255, half.std((0, 1, 2)) / 255)]
    return tuple(float(value) for value in np.concatenate(numbers).round(4))


def motion_of(frames: Frames) -> float:
    """Mean difference of neighbouring frames (T, H, W, 3), 0 (a still) to 1."""
    return float(np.abs(np.diff(frames.astype(np.int16), axis=0)).mean() / 255)


def find_cuts(path: Path) -> Cuts:
    """Where the camera cuts; every frame is decoded. Raises VideoError's family, MissingExtra."""
    with needs("scenedetect", f"{path.name}: finding cuts"):
        from scenedetect import AdaptiveDetector, FrameTimecode
    logging.getLogger("pyscenedetect").setLevel(logging.ERROR)
    times, cuts = list[float](), list[FrameTimecode]()
    with opened(path, CUT_LIMITS) as source:
        rate = 1 / source.step
        detector = AdaptiveDetector(min_scene_len=max(MIN_SHOT_FRAMES, round(MIN_SHOT * rate)))
        for number, (time, frame) in enumerate(decoded(source)):
            small = fitted(upright(frame, CUT_SIZE), CUT_SIZE)[:, :, ::-1]  # BGR, as OpenCV has it
            cuts += detector.process_frame(FrameTimecode(number, rate), np.ascontiguousarray(small))
            times.append(time)
        cuts += detector.post_process(FrameTimecode(len(times) - 1, rate))
        end = times[-1] + source.step
    return Cuts(end, [times[cut.frame_num] for cut in cuts])
