"""Motion libraries: recordings of named actions as joint positions.

A library is a folder with `motions.npz` (`positions` (frames, 18, 3) metres, Z up; `joints`, their names in
order; `fps`) and `motions.csv` (`id, action, split, first_frame, frames, source, recording, licence`).
"""

import csv
import math
from dataclasses import dataclass
from hashlib import file_digest
from io import StringIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from echoreel.common.errors import MotionLibraryError
from echoreel.common.places import small_file
from echoreel.common.text import table_rows

JOINTS = (
    "pelvis", "chest", "neck", "head", "lsho", "lelb", "lhand", "rsho", "relb", "rhand",
    "lhip", "lknee", "lank", "ltoe", "rhip", "rknee", "rank", "rtoe",
)  # fmt: skip
FILES = ("motions.npz", "motions.csv")
ARCHIVE_BYTES = 2**30  # of motions.npz unpacked: some 90 hours of recordings
MOST_FPS = 1000.0
COLUMNS = ("id", "action", "split", "first_frame", "frames", "source", "recording")

NEED = (
    "a folder with motions.npz and motions.csv; docs/motion-data.md of the repository says how to make it "
    "from public recordings"
)

Joints = NDArray[np.float32]  # (T, 18, 3) metres, Z up


def joint(name: str) -> int:
    """Index of a joint in the second axis of joint positions."""
    return JOINTS.index(name)


@dataclass(frozen=True, eq=False)
class Recording:
    """One recorded performance of an action; `joints` is (F, 18, 3) float32 in metres, Z up."""

    id: int
    action: str
    split: str
    joints: Joints
    name: str = ""


@dataclass(frozen=True, eq=False)
class MotionLibrary:
    """Recordings that share one skeleton and frame rate."""

    recordings: tuple[Recording, ...]
    fps: float

    @property
    def actions(self) -> tuple[str, ...]:
        """The distinct action phrases, sorted."""
        return tuple(sorted({recording.action for recording in self.recordings}))

    def split(self, name: str) -> "MotionLibrary":
        """The recordings of one split. Raises MotionLibraryError when there are none."""
        chosen = tuple(recording for recording in self.recordings if recording.split == name)
        if not chosen:
            known = ", ".join(sorted({recording.split for recording in self.recordings}))
            raise MotionLibraryError(
                f"got split {name!r}; this motion library has: {known}; choose one of them"
            )
        return MotionLibrary(chosen, self.fps)

    @classmethod
    def load(cls, folder: Path | str | None) -> "MotionLibrary":
        """Read `motions.npz` and `motions.csv`. Raises MotionLibraryError for what is missing or wrong."""
        if folder is None:
            raise MotionLibraryError(f"got no motion library (motions = FOLDER, or --motions), need {NEED}")
        folder = Path(folder)
        positions, fps = _read_positions(folder / "motions.npz")
        rows = _read_rows(folder / "motions.csv")
        return cls(tuple(_recording(row, positions, folder) for row in rows), fps)


def motions_digest(folder: Path | str | None) -> str:
    """Names what a motion library has: other recordings, another name. Raises MotionLibraryError."""
    if folder is None or not all((Path(folder) / name).is_file() for name in FILES):
        raise MotionLibraryError(f"{folder} is not a motion library; need {NEED}")
    parts = []
    for name in FILES:
        with (Path(folder) / name).open("rb") as file:
            parts.append(file_digest(file, "sha256").hexdigest())
    return " ".join(parts)


def _read_positions(path: Path) -> tuple[NDArray[np.float16], float]:
    if not path.is_file():
        raise MotionLibraryError(f"{path} does not exist; need {NEED}")
    try:
        with ZipFile(path) as parts:
            if sum(part.file_size for part in parts.infolist()) > ARCHIVE_BYTES:
                raise ValueError(f"over {ARCHIVE_BYTES} bytes once it is unpacked")
        with np.load(path, allow_pickle=False) as archive:
            positions, joints, fps = archive["positions"], archive["joints"], float(archive["fps"])
        _check_numbers(positions, joints, fps)
    except Exception as error:  # NumPy and zipfile raise nearly everything on damaged files
        raise MotionLibraryError(
            f"{path} is not a motion archive ({error}); it needs positions, joints and fps"
        ) from error
    if tuple(str(name) for name in joints) != JOINTS or positions.shape[1:] != (len(JOINTS), 3):
        raise MotionLibraryError(
            f"{path} has joints {[str(name) for name in joints]} and shape {positions.shape}; "
            f"need (frames, {len(JOINTS)}, 3) with joints {list(JOINTS)}"
        )
    return positions, fps


def _check_numbers(positions: NDArray[Any], joints: NDArray[Any], fps: float) -> None:
    """Raises ValueError for what no recording can be."""
    if positions.dtype.kind != "f" or not positions.ndim or not joints.ndim:
        raise ValueError(f"positions of type {positions.dtype}, need numbers of frames, joints and axes")
    if not (np.isfinite(positions).all() and math.isfinite(fps) and 0 < fps <= MOST_FPS):
        raise ValueError(f"positions that are NaN or infinite, or {fps:g} frames a second")


def _read_rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise MotionLibraryError(f"{path} does not exist; need {NEED}")
    try:
        text = small_file(path).decode("utf-8-sig")
        rows = list(table_rows(StringIO(text, newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise MotionLibraryError(f"{path} is not a table ({error}); write it as UTF-8, as .csv") from error
    missing = [column for column in COLUMNS if not rows or column not in rows[0]]
    if missing:
        raise MotionLibraryError(f"{path} lacks the columns {', '.join(missing)}; need {', '.join(COLUMNS)}")
    return rows


def _recording(row: dict[str, str], positions: NDArray[np.float16], folder: Path) -> Recording:
    try:
        identity, first, frames = int(row["id"]), int(row["first_frame"]), int(row["frames"])
    except (ValueError, TypeError) as error:  # TypeError: the row is short
        raise MotionLibraryError(
            f"motions.csv in {folder}: {error}; id, first_frame and frames are whole numbers"
        ) from error
    if first < 0 or frames < 2 or first + frames > len(positions):
        raise MotionLibraryError(
            f"motions.csv in {folder}: recording {identity} spans frames {first} to {first + frames}; "
            f"need at least 2 frames inside 0 to {len(positions)}"
        )
    joints = positions[first : first + frames].astype(np.float32)
    return Recording(identity, row["action"], row["split"], joints, f"{row['source']}: {row['recording']}")


def standing_pose() -> Joints:
    """A person at rest, (18, 3) metres, facing +y, feet on z = 0."""
    left = {
        "sho": (-0.18, 0, 1.42), "elb": (-0.24, 0, 1.14), "hand": (-0.26, 0.04, 0.88), "hip": (-0.1, 0, 0.92),
        "knee": (-0.11, 0.01, 0.5), "ank": (-0.11, 0, 0.08), "toe": (-0.12, 0.17, 0.03),
    }  # fmt: skip
    middle = {"pelvis": (0, 0, 0.96), "chest": (0, 0, 1.25), "neck": (0, 0, 1.48), "head": (0, 0.02, 1.64)}
    right = {f"r{name}": (-x, y, z) for name, (x, y, z) in left.items()}
    everything = {**middle, **{f"l{name}": place for name, place in left.items()}, **right}
    return np.array([everything[name] for name in JOINTS], np.float32)


def synthetic_library() -> MotionLibrary:
    """Five actions made of sines (walking, waving, jumping, squatting, leaning), 4 s each at 30 fps.

    For tests and first steps on machines without a motion library: `train` holds the first three actions,
    `heldout` the last two.
    """
    fps, time = 30.0, np.arange(120, dtype=np.float32) / 30.0
    swing = np.sin(2 * np.pi * time)
    moves = {
        name: np.tile(standing_pose(), (len(time), 1, 1))
        for name in ("walking", "waving", "jumping", "squatting", "leaning")
    }
    for side, sign in (("l", 1.0), ("r", -1.0)):
        for name, reach in (("knee", 0.2), ("ank", 0.4), ("toe", 0.4)):
            moves["walking"][:, joint(side + name), 1] += sign * reach * swing
        for name, reach in (("elb", 0.15), ("hand", 0.35)):
            moves["walking"][:, joint(side + name), 1] -= sign * reach * swing
    moves["waving"][:, joint("relb")] = (0.38, 0.05, 1.55)
    moves["waving"][:, joint("rhand")] = np.stack(
        [0.38 + 0.22 * swing, 0 * swing + 0.05, 1.8 - 0.06 * swing**2], -1
    )
    moves["jumping"][..., 2] += 0.45 * np.abs(swing)[:, None]
    bend = 0.25 * (1 - np.cos(np.pi * time)) / 2
    for index, name in enumerate(JOINTS):
        if "ank" not in name and "toe" not in name:
            moves["squatting"][:, index, 2] -= (0.5 if "knee" in name else 1.6) * bend
        height = moves["leaning"][:, index, 2]
        moves["leaning"][:, index, 0] += 0.5 * swing * np.clip(height - 0.5, 0, None)
    recordings = (
        Recording(number, action, "train" if number < 3 else "heldout", joints.astype(np.float32), "sines")
        for number, (action, joints) in enumerate(moves.items())
    )
    return MotionLibrary(tuple(recordings), fps)
