"""`crop="moving"`: a square box that follows what moves, found without a model.

The camera must stand still: what moves is what differs from the median of all frames.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from echoreel.common.errors import VideoError
from echoreel.media.drawing import LIGHT, VERMILION, rgb
from echoreel.media.images import Frames

ANALYSED = 128  # pixels of the longer side that movement is looked for at
DIFFERS = 12  # a pixel's least difference from the background, of 255
NOISE = 5  # and how often the median difference, which is compression and grain
LEAST_AREA = 5e-4  # share of the picture that must move in a frame to tell where
MARGIN = 1.15  # of the box, over all that moves
LEAST_SIDE = 0.3  # of the picture's shorter side: a waving arm alone is not the person
SMOOTHING = 1.5  # frames, standard deviation

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Crop:
    """Whole frames (T, H, W, 3) uint8, and the box that is taken from each: (T, 4) pixels, top, left, bottom,
    right; all of one size, square. Little `inside` tells of two that move far apart, or a shaken camera."""

    whole: Frames
    boxes: NDArray[np.int64]
    inside: float  # share of all that moves

    def frames(self) -> Frames:
        """What is in the boxes, (T, S, S, 3)."""
        return np.stack(
            [
                frame[top:bottom, left:right]
                for frame, (top, left, bottom, right) in zip(self.whole, self.boxes, strict=True)
            ]
        )

    def outlined(self) -> Frames:
        """The whole frames with the boxes drawn in vermilion on white, which show on any ground.

        They are as thick as shows at a tenth of the size.
        """
        drawn = self.whole.copy()
        thick = max(1, min(drawn.shape[1:3]) // 80)
        for frame, box in zip(drawn, self.boxes, strict=True):
            _frame_in(frame, box, 2 * thick, LIGHT.paper)
            _frame_in(frame, box, thick, VERMILION)
        return drawn


def _frame_in(frame: Frames, box: NDArray[np.int64], thick: int, colour: str) -> None:
    """Draw the inside of a box's edge, so many pixels wide."""
    top, left, bottom, right = box
    for edge in (
        frame[top : top + thick, left:right],
        frame[bottom - thick : bottom, left:right],
        frame[top:bottom, left : left + thick],
        frame[top:bottom, right - thick : right],
    ):
        edge[:] = rgb(colour)


def crop_to_motion(frames: Frames, name: str) -> Crop:
    """The box that follows what moves in frames (T, H, W, 3) of a still camera; `name` is for messages.

    Raises VideoError where nothing moves, or nearly everything does.
    """
    height, width = frames.shape[1:3]
    shorter = min(height, width)
    moving, scale = _moving(frames, name)
    bounds = _bounds(moving) * scale
    centres = _smoothed((bounds[:, :2] + bounds[:, 2:]) / 2)
    reach = np.maximum(centres - bounds[:, :2], bounds[:, 2:] - centres).max()
    side = round(min(max(2 * MARGIN * reach, LEAST_SIDE * shorter), shorter))
    corners = (centres - side / 2).round().astype(np.int64)
    corners = corners.clip(0, np.array([height - side, width - side]))
    boxes = np.concatenate([corners, corners + side], axis=1)
    return Crop(frames, boxes, _inside(moving, boxes / scale))


def _moving(frames: Frames, name: str) -> tuple[NDArray[np.bool_], float]:
    """Which pixels of smaller frames move, (T, h, w), and how much smaller they are. Raises VideoError."""
    scale = max(1.0, max(frames.shape[1:3]) / ANALYSED)
    size = max(1, round(frames.shape[2] / scale)), max(1, round(frames.shape[1] / scale))
    small = np.stack(
        [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in frames]
    )
    differs = np.abs(small.astype(np.float32) - np.median(small, axis=0)).max(-1)
    usual = float(np.median(differs))
    advice = "leave the crop out, or choose another part with start and end"
    if usual > DIFFERS:
        raise VideoError(
            f"{name}: nearly the whole picture moves; crop 'moving' needs a still camera; {advice}"
        )
    moving = _without_specks(differs > max(DIFFERS, NOISE * usual))
    if not (moving.mean((1, 2)) > LEAST_AREA).any():
        raise VideoError(
            f"{name}: nothing moves in the frames taken, so crop 'moving' finds nobody; {advice}"
        )
    return moving, scale


def _inside(moving: NDArray[np.bool_], boxes: Float) -> float:
    """Share of the moving pixels (T, h, w) that lie in boxes (T, 4)."""
    edges = boxes.round().astype(int)
    held = [
        frame[top:bottom, left:right].sum()
        for frame, (top, left, bottom, right) in zip(moving, edges, strict=True)
    ]
    return float(sum(held) / moving.sum())


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels (T, h, w) of which at least half of the 3x3 around them are set as well."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)), mode="edge").astype(np.uint8)
    height, width = mask.shape[1:]
    around = sum(padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3))
    kept: NDArray[np.bool_] = mask & (np.asarray(around) >= 5)
    return kept


def _bounds(moving: NDArray[np.bool_]) -> Float:
    """Top, left, bottom and right of what moves in each frame, (T, 4); where too little moves, between those
    of the frames before and after."""
    seen = np.flatnonzero(moving.mean((1, 2)) > LEAST_AREA)
    found = np.array([_box(moving[index]) for index in seen])
    times = np.arange(len(moving))
    return np.stack([np.interp(times, seen, column) for column in found.T], axis=1)


def _box(moving: NDArray[np.bool_]) -> list[float]:
    """Without the outermost hundredth on every side, so that a stray pixel does not count."""
    edges = []
    for axis in (1, 0):
        share = np.cumsum(moving.sum(axis)) / moving.sum()
        edges.append((float(np.searchsorted(share, 0.01)), float(np.searchsorted(share, 0.99)) + 1))
    (top, bottom), (left, right) = edges
    return [top, left, bottom, right]


def _smoothed(track: Float) -> Float:
    """Positions (T, 2) over time, each a mean of its neighbours weighed by a Gaussian. At both ends the track
    goes on as it came, turned about its last point, so that a steady walk is not held back there."""
    more = min(len(track) - 1, round(3 * SMOOTHING))
    before, after = 2 * track[:1] - track[more:0:-1], 2 * track[-1:] - track[-2 : -more - 2 : -1]
    longer = np.concatenate([before, track, after])
    moments, times = np.arange(len(longer)), np.arange(len(track)) + more
    weights = np.exp(-0.5 * ((times[:, None] - moments) / SMOOTHING) ** 2)
    smooth: Float = weights @ longer / weights.sum(1, keepdims=True)
    return smooth
