"""Videos in, numbers out: which action is performed, how faithfully, and in whose clothes.

Poses come from a judge (`actors.judges`) as a camera saw them. Nothing here needs to know that camera: two
motions are compared at the rotation about the vertical that brings them nearest, found in closed form. The
same holds for every condition of an evaluation, so none gains by it.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from einops import rearrange
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from echoreel.actors.looks import Look
from echoreel.actors.motion_library import JOINTS, Joints, MotionLibrary, standing_pose
from echoreel.actors.takes import window
from echoreel.evaluation.intervals import BootstrapSettings

Floats = NDArray[np.float32]
TURNS = 72  # about the vertical, that retrieval tries
LOOK_PARTS = ("shirt", "trousers", "hair", "place")


class MetricSettings(BootstrapSettings):
    """How motions are compared."""

    seconds: tuple[float, ...] = (1.6, 1.9, 2.2, 2.6)  # recorded time of the windows that are compared with
    stride: PositiveInt = 4  # recorded frames from one window to the next
    velocity: NonNegativeFloat = 16.0  # weight of displacements between frames, beside places, in retrieval
    depth: NonNegativeFloat = 0.5  # likewise, of what points to the camera, which a picture tells worst
    shift: NonNegativeInt = (
        3  # frames that a video may lag behind or run ahead of the true motion, in fidelity
    )
    elevation: float = 0.2  # radians: of the cameras, the middle of the domain's


def levelled(joints: Joints, elevation: float) -> Joints:
    """Joints (…, 3) to a camera's right, up and towards it -> Z up: its `elevation` (radians) taken out.

    x points to where the camera stands on the ground, so the azimuth remains unknown.
    """
    right, up, near = np.moveaxis(joints, -1, 0)
    flat = near * math.cos(elevation) - up * math.sin(elevation)
    height = near * math.sin(elevation) + up * math.cos(elevation)
    return np.stack([flat, right, height], -1).astype(np.float32)


def centred(joints: Joints) -> Joints:
    """Joints (…, 18, 3) from the pelvis of each moment."""
    return joints - joints[..., :1, :]


class MotionBank:
    """All windows of a library's recordings, to find the nearest to a motion: retrieval names its action."""

    def __init__(self, library: MotionLibrary, frames: int, settings: MetricSettings) -> None:
        """`frames`: of the videos that will be judged."""
        poses, self.actions = [], []
        for recording in library.recordings:
            lengths = {min(len(recording.joints), round(s * library.fps)) for s in settings.seconds}
            for length in sorted(lengths):
                for start in range(0, len(recording.joints) - length + 1, settings.stride):
                    poses.append(centred(window(recording, start, length, frames).joints))
                    self.actions.append(recording.action)
        self._settings = settings
        stacked = np.stack(poses)
        self._usual = np.zeros((len(JOINTS), 3), np.float32)  # mean pose over all turns about the vertical
        self._usual[:, 2] = stacked[..., 2].mean((0, 1))
        self._windows = _with_velocity(stacked - self._usual, settings.velocity)

    def nearest_actions(self, joints: Joints) -> list[str]:
        """The action nearest to each motion (B, T, 18, 3; as a camera saw it); the first of equals.

        Compared is what differs from the mean pose: that everybody stands on two legs tells nothing
        (docs/research/decisions/0011-what-retrieval-compares.md).
        """
        settings = self._settings
        motions = _with_velocity(levelled(joints, settings.elevation) - self._usual, settings.velocity)
        return [self.actions[i] for i in similarities(motions, self._windows, settings.depth).argmax(1)]


def distances(motions: Floats, others: Floats) -> Floats:
    """Root mean square distance (N, M) of points (N, P, 3) from points (M, P, 3), Z up, at the best turn."""
    squares = [(points**2).sum((1, 2)) for points in (motions, others)]
    square = squares[0][:, None] + squares[1] - 2 * _products(motions, others)
    distance: Floats = np.sqrt(square.clip(0) / motions.shape[1])
    return distance


def similarities(motions: Floats, others: Floats, depth: float = 1.0) -> Floats:
    """Cosine (N, M) of points (N, P, 3) with points (M, P, 3), both Z up.

    The best of `TURNS` turns of `others` about the vertical counts. x of `motions` points to the camera, as
    from `levelled`, and counts `depth` times as much as y and z. Unlike the distance, the cosine is the same
    when a judge in doubt reads every movement too small.
    """
    (x, y, z), (x_, y_, z_) = np.moveaxis(motions, -1, 0), np.moveaxis(others, -1, 0)
    weight = depth**2
    own = np.sqrt((weight * x**2 + y**2 + z**2).sum(1)).clip(1e-6)
    along, across, upright = weight * x @ x_.T + y @ y_.T, weight * x @ y_.T - y @ x_.T, z @ z_.T
    xx, yy, xy, zz = ((a * b).sum(1) for a, b in ((x_, x_), (y_, y_), (x_, y_), (z_, z_)))
    best: Floats = np.full_like(upright, -1)
    for turn in 2 * np.pi / TURNS * np.arange(TURNS, dtype=np.float32):
        c, s = np.cos(turn), np.sin(turn)
        towards = xx * c**2 + yy * s**2 + 2 * xy * c * s
        square = weight * towards + (xx + yy - towards) + zz
        product = c * along + s * across + upright
        np.maximum(best, product / (own[:, None] * np.sqrt(square).clip(1e-6)), out=best)
    return best


def _products(motions: Floats, others: Floats) -> Floats:
    """Greatest inner products (N, M) over turns of the motions about the vertical.

    With A = sum(x x' + y y') and B = sum(x y' - y x'), a turn by t gives A cos t + B sin t + sum(z z'),
    at most sqrt(A^2 + B^2) + sum(z z').
    """
    (x, y, z), (x_, y_, z_) = np.moveaxis(motions, -1, 0), np.moveaxis(others, -1, 0)
    product: Floats = np.hypot(x @ x_.T + y @ y_.T, x @ y_.T - y @ x_.T) + z @ z_.T
    return product


def motion_fidelity(joints: Joints, truth: Joints, settings: MetricSettings) -> float:
    """How much of the true motion (T, 18, 3; Z up) a video's (T, 18, 3; as its camera saw it) shows, 0 to 1.

    1 - d / d0, but no less than 0: d is the distance from the truth, at the best shift in time and turn about
    the vertical; d0 that of a person who just stands there. Identical motion gives 1. Standing still, and
    motion that has nothing to do with the truth, give 0.
    """
    shown, true = levelled(joints, settings.elevation), centred(truth)
    still = np.broadcast_to(centred(standing_pose()), true.shape)
    reference = _distance(still, true)
    best = math.inf
    for shift in range(-settings.shift, settings.shift + 1):
        late, early = max(shift, 0), max(-shift, 0)
        best = min(best, _distance(shown[late : len(shown) - early], true[early : len(true) - late]))
    return max(0.0, 1 - best / max(reference, 1e-6))


def prompt_appearance(read: Mapping[str, str], asked: Look) -> float:
    """Share of shirt, trousers, hair and place that are as asked."""
    return float(np.mean([read[part] == getattr(asked, part) for part in LOOK_PARTS]))


def look_leakage(read: Mapping[str, str], asked: Look, shown: Sequence[Look]) -> float:
    """Share of the parts that look as in the references `shown`, where these differ from what was asked.

    nan when no part differs.
    """
    leaks = [
        read[part] == getattr(look, part)
        for look in shown
        for part in LOOK_PARTS
        if getattr(look, part) != getattr(asked, part)
    ]
    return float(np.mean(leaks)) if leaks else math.nan


def amount_of_motion(joints: Joints) -> float:
    """How far a joint moves from one frame to the next, in centimetres, the mean of all but the pelvis.

    joints (T, 18, 3) from the pelvis. Beside a consistency, which a still video has as well.
    """
    return float(np.linalg.norm(np.diff(joints[:, 1:], axis=0), axis=-1).mean() * 100)


def _with_velocity(joints: Joints, weight: float) -> Floats:
    """Motions (N, T, 18, 3) -> points (N, P, 3): places, and weighted displacements between frames."""
    parts = [joints, weight * np.diff(joints, axis=1)] if weight else [joints]
    return np.concatenate([rearrange(part, "n t j c -> n (t j) c") for part in parts], 1)


def _distance(motion: Joints, other: Joints) -> float:
    return float(distances(motion.reshape(1, -1, 3), other.reshape(1, -1, 3))[0, 0])
