"""Motion of ordinary videos, with OpenCV: how much of it there is, and how far it is a reference's.

Both measures take a `Clip` of any size; lengths are in shorter sides of its frames, so that a video and its
enlarged copy measure the same. docs/metrics.md has the definitions, what they come from, and their traps.
"""

from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from echoreel.common.errors import ClipTooShort
from echoreel.common.extras import needs
from echoreel.media.images import Frames
from echoreel.media.video_files import Clip

Floats = NDArray[np.float32]

RATE = 8.0  # frames a second at which flow and likeness of neighbours are read, at most
SLACK = 0.01  # seconds by which containers round times, at most
FASTEST = 0.05  # share of a frame's pixels that `peak` is of, as in VBench's dynamic degree

POINTS = 2000  # followed from the beginning of each part, at most
SPACING = 1 / 55  # between points at the beginning: the density of DMT's grid
RETURN = 1 / 256  # how near a point must come to where it was when it is tracked back
PARTS = 2  # of a video's time: few points can be followed through all of an action
STEPS = 8  # in each part, of equal time
STEP = 0.002  # what moves less in a step is at rest then
EXCURSION = 0.01  # a point that is not twice so far from where it began does not move, it trembles


class Motion(NamedTuple):
    """Amount of motion, in shorter sides of the frame a second; times its pixels, pixels a second."""

    mean: float  # over pixels and time
    peak: float  # of the fastest 5 % of the pixels of each moment


Tracks: TypeAlias = tuple[Floats, ...]
"""For each part of a video's time the points that move in it: places (N, STEPS + 1, 2) in shorter sides."""


def opencv() -> Any:
    """The package cv2. Raises MissingExtra."""
    with needs("cv2", "measuring motion"):
        import cv2
    return cv2


def paced(clip: Clip, rate: float = RATE) -> NDArray[np.intp]:
    """Indices of the frames on show at each tick of `rate` a second, each frame once."""
    ticks = np.arange(clip.timestamps[0], clip.timestamps[-1] + SLACK, 1 / rate)
    return np.unique(np.searchsorted(clip.timestamps, ticks + SLACK, side="right") - 1)


def amount_of_motion(clip: Clip) -> Motion:
    """Length of the optical flow (DIS) between frames 1/8 s apart, or as far apart as they were filmed.

    0 for a still video. Raises ClipTooShort below two frames, MissingExtra.
    """
    cv2 = opencv()
    shown = paced(clip)
    if len(shown) < 2:
        raise ClipTooShort(
            f"got {len(clip.frames)} frames, need at least 2 that differ in time to see motion"
        )
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
    """Corners followed by pyramidal Lucas-Kanade through each half of the clip, every step tracked back.

    Points that are lost or do not move are left out. Raises ClipTooShort below two frames, MissingExtra.
    """
    opencv()
    if len(clip.frames) < 2:
        raise ClipTooShort(f"got {len(clip.frames)} frame, need at least 2 to follow points")
    grey, times = _grey(clip.frames), clip.timestamps
    moments = np.linspace(times[0], times[-1], PARTS * STEPS + 1)
    found = []
    for part in range(PARTS):
        asked = moments[part * STEPS : (part + 1) * STEPS + 1]
        first = int(np.searchsorted(times, asked[0] + 1e-6, side="right")) - 1
        last = int(np.searchsorted(times, asked[-1] - 1e-6))
        points = _followed(grey[first : last + 1]) / min(grey.shape[1:])
        found.append(_moving(_at(points, times[first : last + 1], asked)))
    return tuple(found)


def trajectory_fidelity(video: Tracks, reference: Tracks) -> float:
    """How well a video's points move in the same directions as the reference's: -1 to 1, 1 for a copy.

    Two points agree by the mean cosine of their steps. A step of one point alone counts 0; a step of neither
    does not count. Each half of the time is scored by itself. Every point of the video is paired with the
    reference's best, and every point of the reference with the video's best. The score of a half is the mean
    of both means, or 0 if only one of the two moves. The result is the mean over halves in which anything
    moves. It is 0 if nothing moves in the video, and nan if nothing moves in the reference.
    """
    if not any(map(len, reference)):
        return float("nan")
    scores = []
    for shown, true in zip(video, reference, strict=True):
        if len(shown) and len(true):
            agreement = _agreement(shown, true)
            scores.append((agreement.max(1).mean() + agreement.max(0).mean()) / 2)
        elif len(shown) or len(true):
            scores.append(0.0)
    return float(np.mean(scores))


def _agreement(first: Floats, second: Floats) -> Floats:
    """Mean cosine (N, M) of the steps of points (N, T, 2) and (M, T, 2), over those that either makes."""
    (a, moves_a), (b, moves_b) = _directions(first), _directions(second)
    both = moves_a @ moves_b.T
    either = moves_a.sum(1)[:, None] + moves_b.sum(1) - both
    cosines = rearrange(a, "n t c -> n (t c)") @ rearrange(b, "m t c -> m (t c)").T
    mean: Floats = (cosines / np.maximum(either, 1)).astype(np.float32)
    return mean


def _directions(points: Floats) -> tuple[Floats, Floats]:
    """Directions (N, T-1, 2) of steps, 0 at rest, and 1 where there is a step, 0 at rest (N, T-1)."""
    steps = np.diff(points, axis=1)
    lengths = np.linalg.norm(steps, axis=-1)
    moves = lengths >= STEP
    return np.where(moves[..., None], steps / np.where(moves, lengths, 1)[..., None], 0), moves.astype("f4")


def _followed(grey: NDArray[np.uint8]) -> Floats:
    """Corners of the first frame that can be followed to the last: places (N, T, 2) in pixels."""
    cv2 = opencv()
    side = min(grey.shape[1:])
    corners = cv2.goodFeaturesToTrack(
        grey[0], POINTS, qualityLevel=0.001, minDistance=max(1.0, SPACING * side)
    )
    path = [np.zeros((0, 1, 2), np.float32) if corners is None else corners]
    for before, after in pairwise(grey):
        here = path[-1]
        if not len(here):
            return np.zeros((0, len(grey), 2), np.float32)
        there, seen, _ = cv2.calcOpticalFlowPyrLK(before, after, here, None)
        back, again, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None)
        missed = np.linalg.norm((back - here)[:, 0], axis=-1) > RETURN * side
        kept = (seen[:, 0] == 1) & (again[:, 0] == 1) & ~missed & _inside(there[:, 0], grey.shape)
        path = [places[kept] for places in [*path, there]]
    return rearrange(np.stack(path), "t n 1 c -> n t c")


def _at(points: Floats, times: NDArray[np.float64], asked: NDArray[np.float64]) -> Floats:
    """Places (N, T, 2) of points at `times` (T,) -> (N, A, 2) at those asked for (A,), linearly between."""
    before = np.clip(np.searchsorted(times, asked, side="right") - 1, 0, len(times) - 2)
    share = ((asked - times[before]) / (times[before + 1] - times[before]))[:, None].astype(np.float32)
    return points[:, before] * (1 - share) + points[:, before + 1] * share


def _moving(points: Floats) -> Floats:
    """Those of the points (N, T, 2) that move."""
    far = np.linalg.norm(points - points[:, :1], axis=-1)
    moving: Floats = points[(far >= EXCURSION).sum(1) >= 2]  # once: dragged along by what hides it
    return moving


def _grey(frames: Frames) -> NDArray[np.uint8]:
    cv2 = opencv()
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])


def _inside(points: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.all((points >= 0) & (points <= (shape[2] - 1, shape[1] - 1)), axis=-1)
    return inside
