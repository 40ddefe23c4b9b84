"""Motion of ordinary videos, with OpenCV: how much of it there is, and how far it is a reference's.

Both measures take a `Clip` of any size; lengths are in the shorter sides of its frames, so that a video and its
enlarged copy measure the same. docs/metrics.md has the definitions, what they come from, and their traps.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from echoreel.errors import ClipTooShort, MissingExtra
from echoreel.pictures import Frames
from echoreel.video import Clip

Floats = NDArray[np.float32]

RATE = 8.0  # frames a second at which flow and likeness of neighbours are read, at most
FASTEST = 0.05  # share of a frame's pixels that `peak` is of, as in VBench's dynamic degree

POINTS = 2000  # tracked, at most
SPACING = 1 / 55  # between points at the start: the density of DMT's grid
RETURN = 1 / 256  # how near a point must come to where it was when it is tracked back
MOMENTS = 16  # at which two motions are compared, from the first frame to the last
EXCURSION = 0.02  # a point that is never twice so far from where it began does not move, it trembles
STEP = 0.002  # between two moments; what moves less is at rest then
SEEN = 0.5  # share of the steps in which a point must be seen to count


class Motion(NamedTuple):
    """Amount of motion, in shorter sides of the frame a second; times its pixels, pixels a second."""

    mean: float  # over pixels and time
    peak: float  # of the fastest 5 % of the pixels of each moment


class Tracks(NamedTuple):
    """Points followed through a video."""

    points: Floats  # (N, T, 2): x, y in shorter sides of the frame; nan from where a point is lost
    times: NDArray[np.float64]  # (T,) seconds


def opencv() -> Any:
    """The package cv2. Raises MissingExtra."""
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra(
            "measuring motion needs the package opencv-python-headless: pip install 'echoreel[eval]'"
        ) from error
    return cv2


def paced(clip: Clip, rate: float = RATE) -> NDArray[np.intp]:
    """Indices of the frames on show at each tick of `rate` a second, each frame once."""
    ticks = np.arange(clip.timestamps[0], clip.timestamps[-1] + 1e-6, 1 / rate)
    return np.unique(np.searchsorted(clip.timestamps, ticks + 1e-3, side="right") - 1)


def amount_of_motion(clip: Clip) -> Motion:
    """Length of the optical flow (DIS) between frames 1/8 s apart, or as far apart as they were filmed.

    0 for a still video. Raises ClipTooShort below two frames, MissingExtra.
    """
    cv2 = opencv()
    shown = paced(clip)
    if len(shown) < 2:
        raise ClipTooShort(f"got {len(clip.frames)} frames, need at least 2 that differ in time to see motion")
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = _grey(clip.frames[shown])
    totals = np.zeros(2)
    for before, after in pairwise(grey):
        lengths = np.linalg.norm(flow.calc(before, after, None), axis=-1).ravel()
        fastest = max(1, round(FASTEST * lengths.size))
        totals += lengths.mean(), np.partition(lengths, -fastest)[-fastest:].mean()
    seconds = clip.timestamps[shown[-1]] - clip.timestamps[shown[0]]
    mean, peak = totals / seconds / min(grey.shape[1:])
    return Motion(float(mean), float(peak))


def point_tracks(clip: Clip) -> Tracks:
    """Corners of the first frame, followed by pyramidal Lucas-Kanade, each step checked by tracking back.

    Raises ClipTooShort below two frames, MissingExtra.
    """
    cv2 = opencv()
    if len(clip.frames) < 2:
        raise ClipTooShort(f"got {len(clip.frames)} frame, need at least 2 to follow points")
    grey = _grey(clip.frames)
    side = min(grey.shape[1:])
    found = cv2.goodFeaturesToTrack(grey[0], POINTS, qualityLevel=0.001, minDistance=max(1.0, SPACING * side))
    here = np.zeros((0, 1, 2), np.float32) if found is None else found
    points = np.full((len(here), len(grey), 2), np.nan, np.float32)
    points[:, 0] = here[:, 0]
    alive = np.arange(len(here))
    for index, (before, after) in enumerate(pairwise(grey), 1):
        if not len(alive):
            break
        there, seen, _ = cv2.calcOpticalFlowPyrLK(before, after, here, None)
        back, again, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None)
        missed = np.linalg.norm((back - here)[:, 0], axis=-1) > RETURN * side
        kept = (seen[:, 0] == 1) & (again[:, 0] == 1) & ~missed & _inside(there[:, 0], grey.shape)
        alive, here = alive[kept], there[kept]
        points[alive, index] = here[:, 0]
    return Tracks(points / side, clip.timestamps)


def trajectory_fidelity(video: Tracks, reference: Tracks) -> float:
    """How far the points of a video move in the directions in which the reference's do, -1 to 1; 1 for a copy.

    Two points agree by the mean cosine of their steps. A step that only one of them makes counts 0, one that
    neither makes does not count. Every moving point of the video is given the best of the reference's moving
    points and every one of the reference's the best of the video's; the mean of both means is the result. A
    video in which nothing moves gets 0. nan when nothing moves in the reference.
    """
    moments = min(MOMENTS, video.points.shape[1], reference.points.shape[1])
    shown, true = _moving(video, moments), _moving(reference, moments)
    if not len(true):
        return float("nan")
    if not len(shown):
        return 0.0
    agreement = _agreement(shown, true)
    return float((agreement.max(1).mean() + agreement.max(0).mean()) / 2)


def _agreement(first: Floats, second: Floats) -> Floats:
    """Mean cosine (N, M) of the steps of points (N, T, 2) and (M, T, 2), over those that either makes.

    0 for points of which neither moves while both are seen.
    """
    (a, seen_a, rest_a), (b, seen_b, rest_b) = _steps(first), _steps(second)
    cosines = rearrange(a, "n t c -> n (t c)") @ rearrange(b, "m t c -> m (t c)").T
    counted = seen_a @ seen_b.T - rest_a @ rest_b.T
    mean: Floats = cosines / np.maximum(counted, 1)
    return mean


def _steps(points: Floats) -> tuple[Floats, Floats, Floats]:
    """Directions (N, T-1, 2) of steps, 0 at rest or unseen; whether each is seen, and at rest (N, T-1)."""
    steps = np.diff(points, axis=1)
    lengths = np.linalg.norm(steps, axis=-1)
    seen = ~np.isnan(lengths)
    moves = seen & (np.nan_to_num(lengths) >= STEP)
    directions = np.where(moves[..., None], steps / np.where(moves, lengths, 1)[..., None], 0)
    return directions, seen.astype(np.float32), (seen & ~moves).astype(np.float32)


def _moving(tracks: Tracks, moments: int) -> Floats:
    """Places (N, moments, 2) of the points that move and are not soon lost, spread evenly over the video."""
    times = np.linspace(tracks.times[0], tracks.times[-1], moments)
    before = np.clip(np.searchsorted(tracks.times, times, side="right") - 1, 0, len(tracks.times) - 2)
    share = (times - tracks.times[before]) / (tracks.times[before + 1] - tracks.times[before])
    share = share[:, None].astype(np.float32)
    left, right = tracks.points[:, before], tracks.points[:, before + 1]
    places = np.where(share <= 0, left, np.where(share >= 1, right, left * (1 - share) + right * share))
    far = np.linalg.norm(places - places[:, :1], axis=-1)
    known = (~np.isnan(far[:, 1:])).mean(1) >= SEEN  # a point that is lost never returns: any two overlap
    away = (np.nan_to_num(far) >= EXCURSION).sum(1)  # once: dragged along by what hides it, and lost
    moving: Floats = places[known & (away >= min(2, moments - 1))]
    return moving


def _grey(frames: Frames) -> NDArray[np.uint8]:
    cv2 = opencv()
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])


def _inside(points: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = ((points >= 0) & (points <= (shape[2] - 1, shape[1] - 1))).all(-1)
    return inside
