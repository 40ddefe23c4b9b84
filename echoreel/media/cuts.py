"""Where the camera cuts among a few frames: in those of a reference, which should show one shot."""

import numpy as np
from numpy.typing import NDArray

from echoreel.media.images import Frames

CELLS = 8  # a frame is compared as CELLS x CELLS mean colours, so that grain and small motion count little
LEAST = 18.0  # mean difference of the colours of two frames, of 255
TIMES_OTHERS = 3.0  # what a cut changes, as a multiple of what its neighbours do
NEIGHBOURS = 2  # on each side


def cut_times(frames: Frames, timestamps: NDArray[np.float64]) -> list[float]:
    """Times of the frames (T, H, W, 3) that begin another shot; of fewer than four different ones, none.

    timestamps: seconds of each frame (T,); frames with the time of the one before are repeats.
    """
    fresh = np.flatnonzero(np.diff(timestamps, prepend=-np.inf) > 0)
    if len(fresh) < 4:
        return []
    cells = np.stack([_cells(frames[index]) for index in fresh])
    changes = np.abs(np.diff(cells, axis=0)).mean((1, 2, 3))
    found = []
    for index, change in enumerate(changes):
        around = changes[max(0, index - NEIGHBOURS) : index + NEIGHBOURS + 1]
        others = (around.sum() - change) / (len(around) - 1)
        if change >= max(LEAST, TIMES_OTHERS * others):
            found.append(float(timestamps[fresh[index + 1]]))
    return found


def _cells(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = (-(-CELLS // side) for side in frame.shape[:2])  # a side of fewer pixels than cells
    whole = frame.astype(np.float32).repeat(height, axis=0).repeat(width, axis=1)
    rows = np.array_split(whole, CELLS, axis=0)
    return np.stack(
        [np.stack([cell.mean((0, 1)) for cell in np.array_split(row, CELLS, axis=1)]) for row in rows]
    )
