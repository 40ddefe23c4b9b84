"""Takes: time windows of recordings, and new actions made of them by mirroring, reversing and splicing."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from echoreel.actors.motion_library import JOINTS, Joints, Recording, joint

_SWAP = {"l": "r", "r": "l"}
MIRRORED = [
    joint(_SWAP[n[0]] + n[1:])
    if n[0] in "lr" and n[1:] in ("sho", "elb", "hand", "hip", "knee", "ank", "toe")
    else joint(n)
    for n in JOINTS
]
UPPER_BODY = [joint(n) for n in ("chest", "neck", "head", "lsho", "lelb", "lhand", "rsho", "relb", "rhand")]


@dataclass(frozen=True, eq=False)
class Take:
    """A short performance: `joints` (T, 18, 3) float32 metres, on the ground, centred over the origin."""

    joints: Joints
    action: str
    recording: int = -1


def sample_take(
    recording: Recording, fps: float, rng: Generator, frames: int, seconds: tuple[float, float]
) -> Take:
    """A random time window of `seconds` of the recording, sampled at `frames` moments.

    Windows longer than the recording shrink to it, so a short recording plays slower.
    """
    length = min(len(recording.joints), max(2, round(rng.uniform(*seconds) * fps)))
    start = int(rng.integers(0, len(recording.joints) - length + 1))
    return window(recording, start, length, frames)


def window(recording: Recording, start: int, length: int, frames: int) -> Take:
    """`frames` moments spread evenly over `length` recorded frames from `start`, interpolated."""
    moments = start + np.linspace(0, length - 1, frames)
    below = np.floor(moments).astype(int)
    above = np.minimum(below + 1, len(recording.joints) - 1)
    share = (moments - below).astype(np.float32)[:, None, None]
    joints = recording.joints[below] * (1 - share) + recording.joints[above] * share
    return Take(grounded(joints), recording.action, recording.id)


def grounded(joints: Joints) -> Joints:
    """The same motion over the origin, with its lowest moment on the ground.

    The camera mostly follows the person: 70 % of the travel of the pelvis is taken out.
    """
    joints = joints.copy()
    travel = joints[:, :1, :2] - joints[:1, :1, :2]
    joints[..., :2] -= joints[:1, :1, :2] + 0.7 * travel
    joints[..., :2] -= (joints[:, 0, :2].max(0) + joints[:, 0, :2].min(0)) / 2
    joints[..., 2] -= joints[..., 2].min()
    return joints


def mirror(take: Take) -> Take:
    """Left and right exchanged."""
    joints = take.joints[:, MIRRORED] * np.array([-1, 1, 1], np.float32)
    return replace(take, joints=joints)


def reverse(take: Take) -> Take:
    """Played backwards; the caption says so."""
    return replace(take, joints=take.joints[::-1].copy(), action=f"{take.action} in reverse")


def body_frame(joints: Joints) -> NDArray[np.float32]:
    """Rotation (T, 3, 3) whose columns are the body's left, front and up."""
    left = joints[:, joint("lhip")] - joints[:, joint("rhip")]
    left = left / (np.linalg.norm(left, axis=-1, keepdims=True) + 1e-8)
    up = joints[:, joint("chest")] - joints[:, joint("pelvis")]
    front = np.cross(left, up)
    front = front / (np.linalg.norm(front, axis=-1, keepdims=True) + 1e-8)
    return np.stack([left, front, np.cross(front, left)], -1)


def splice(legs: Take, arms: Take) -> Take:
    """A new action: the legs of one take under the torso and arms of another of equal length."""
    above = arms.joints[:, UPPER_BODY] - arms.joints[:, :1]
    local = np.einsum("tji,tkj->tki", body_frame(arms.joints), above)
    joints = legs.joints.copy()
    joints[:, UPPER_BODY] = legs.joints[:, :1] + np.einsum("tij,tkj->tki", body_frame(legs.joints), local)
    return Take(grounded(joints), f"{legs.action} while {arms.action}", legs.recording)
