"""Motion libraries on disk for tests."""

import csv
from pathlib import Path

import numpy as np

from echoreel.actors.motion_library import JOINTS, MotionLibrary


def write_library(folder: Path, library: MotionLibrary) -> Path:
    """The two files of a library, as `MotionLibrary.load` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    positions = np.concatenate([recording.joints for recording in library.recordings])
    np.savez(folder / "motions.npz", positions=positions, joints=np.array(JOINTS), fps=library.fps)
    with (folder / "motions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "action", "split", "first_frame", "frames", "source", "recording", "licence"])
        first = 0
        for r in library.recordings:
            writer.writerow([r.id, r.action, r.split, first, len(r.joints), "made", r.name or "sines", "CC0"])
            first += len(r.joints)
    return folder
