"""`crop="moving"`: the box follows what moves, and says so."""

from pathlib import Path

import numpy as np
import pytest
from helpers.make_videos import film

from echoreel.common.errors import SettingsError, VideoError
from echoreel.media.images import Frames
from echoreel.media.moving_crop import crop_to_motion
from echoreel.media.reference_video import ReferenceVideo


def walker(
    frames: int = 16, height: int = 120, width: int = 320, noise: float = 3.0
) -> tuple[Frames, list[float]]:
    """A red figure, 20 wide and 60 high, that walks through a grainy picture, and its middle's column."""
    rng = np.random.default_rng(0)
    ground = rng.uniform(60, 200, (height // 8, width // 8, 1)).repeat(8, 0).repeat(8, 1)
    shown = np.clip(ground + rng.normal(0, noise, (frames, height, width, 3)), 0, 255)
    middles = np.linspace(30, 270, frames)
    for picture, middle in zip(shown, middles, strict=True):
        picture[50:110, round(middle) - 10 : round(middle) + 10] = (200, 20, 20)
    return shown.astype(np.uint8), [float(middle) for middle in middles]


def figure(picture: Frames) -> np.ndarray:
    """Where a picture is the figure's red."""
    red: np.ndarray = (picture[..., 0] > 150) & (picture[..., 1] < 90) & (picture[..., 2] < 90)
    return red


def test_the_box_follows_the_figure_and_holds_all_of_it() -> None:
    frames, middles = walker()
    crop = crop_to_motion(frames, "a.mp4")
    cropped = crop.frames()
    side = cropped.shape[1]
    assert cropped.shape == (16, side, side, 3)
    assert 60 <= side <= 90
    for whole, part, middle, (top, left, bottom, right) in zip(
        frames, cropped, middles, crop.boxes, strict=True
    ):
        assert figure(part).sum() >= 0.98 * figure(whole).sum()
        assert abs((left + right) / 2 - middle) < 14 or left == 0 or right == frames.shape[2]
        assert (bottom - top, right - left) == (side, side)


def test_the_box_moves_smoothly_and_bridges_moments_of_rest() -> None:
    frames, _ = walker()
    frames[7] = np.median(frames, axis=0)  # nobody is seen for a moment
    lefts = crop_to_motion(frames, "a.mp4").boxes[:, 1]
    steps = np.diff(lefts)
    assert (steps >= 0).all()
    assert steps.max() <= 24


def test_a_small_movement_gets_no_tiny_box() -> None:
    frames, _ = walker()
    frames[:] = frames[0]
    frames[::3, 60:72, 40:56] = 255
    assert crop_to_motion(frames, "a.mp4").frames().shape[1] == 36  # three tenths of the shorter side


def test_large_frames_are_looked_at_smaller_but_cut_from_as_they_are() -> None:
    frames, _ = walker()
    large = frames.repeat(4, 1).repeat(4, 2)
    crop, small = crop_to_motion(large, "a.mp4"), crop_to_motion(frames, "a.mp4")
    assert crop.frames().shape[1] == pytest.approx(4 * small.frames().shape[1], rel=0.1)
    assert np.abs(crop.boxes / 4 - small.boxes).max() <= 6


def test_where_nothing_or_everything_moves_it_is_told() -> None:
    frames, _ = walker()
    still = np.repeat(frames[:1], 16, axis=0)
    with pytest.raises(VideoError, match=r"^a\.mp4: nothing moves in the frames taken"):
        crop_to_motion(still, "a.mp4")
    panned = np.stack([np.roll(frames[0], 10 * index, axis=1) for index in range(16)])
    with pytest.raises(VideoError, match="needs a still camera"):
        crop_to_motion(panned, "a.mp4")


def test_a_reference_is_cropped_told_and_drawn(tmp_path: Path) -> None:
    frames, _ = walker()
    path = film(tmp_path / "walk.mp4", frames)
    whole, moving = ReferenceVideo.from_file(path), ReferenceVideo.from_file(path, crop="moving")
    side = moving.frames.shape[1]
    assert whole.frames.shape == (16, 120, 320, 3)
    assert moving.frames.shape == (16, side, side, 3)
    assert moving.describe() == f"{whole.describe()}, cropped to the {side}x{side} pixels around what moves"
    assert figure(moving.sheet()).sum() > figure(whole.sheet()).sum()  # the boxes are red, too
    with pytest.raises(SettingsError, match="crop: got 'left', need middle or moving"):
        ReferenceVideo.from_file(path, crop="left")  # type: ignore[arg-type]
