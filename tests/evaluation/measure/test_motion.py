"""Motion of videos whose answer is known: squares that move over a ground that does not."""

from collections.abc import Sequence

import numpy as np
import pytest
from helpers.moving_squares import HEIGHT, SQUARE, WIDTH, arc, moving, noisy, rest, right
from numpy.typing import NDArray

from echoreel.common.errors import ClipTooShort
from echoreel.evaluation.measure.motion import amount_of_motion, paced, point_tracks, trajectory_fidelity
from echoreel.media.images import Frames
from echoreel.media.video_files import Clip


def fidelity(video: Clip, reference: Clip) -> float:
    return trajectory_fidelity(point_tracks(video), point_tracks(reference))


def played(clip: Clip, frames: Frames) -> Clip:
    return Clip(np.ascontiguousarray(frames), clip.timestamps)


@pytest.mark.parametrize("fps", [8, 24])
def test_motion_is_the_speed_of_a_square_whatever_the_frame_rate(fps: float) -> None:
    clip = moving(right, frames=round(2 * fps), fps=fps)
    found = amount_of_motion(clip)
    assert found.peak * HEIGHT == pytest.approx(40, rel=0.05)  # the square is 5 % of the picture
    share = SQUARE**2 / (HEIGHT * WIDTH)
    assert 40 * share < found.mean * HEIGHT < 1.8 * 40 * share  # what it uncovers seems to move, too


def test_a_still_video_has_no_motion_and_an_enlarged_one_the_same() -> None:
    still = amount_of_motion(moving(rest))
    assert (still.mean, still.peak) == (0, 0)
    clip = moving(right)
    large = played(clip, clip.frames.repeat(2, 1).repeat(2, 2))
    assert amount_of_motion(large).peak == pytest.approx(amount_of_motion(clip).peak, rel=0.1)


def test_one_frame_has_no_motion_to_measure() -> None:
    clip = moving(rest, frames=1)
    with pytest.raises(ClipTooShort, match="at least 2"):
        amount_of_motion(clip)
    with pytest.raises(ClipTooShort, match="at least 2"):
        point_tracks(clip)


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        (np.arange(6) / 24, [0, 3]),
        (np.arange(4) / 4, [0, 1, 2, 3]),  # no frame twice
        ((0.0, 0.1, 0.124, 0.5), [0, 2, 3]),  # rounded, and at a variable rate
    ],
)
def test_frames_are_taken_by_time(times: Sequence[float] | NDArray[np.float64], shown: list[int]) -> None:
    clip = Clip(np.zeros((len(times), 8, 8, 3), np.uint8), np.asarray(times))
    assert paced(clip).tolist() == shown


def test_points_follow_the_square() -> None:
    step = 40 * 15 / 8 / 16  # pixels in a sixteenth of the time from the first to the last frame
    for places in point_tracks(moving(right)):
        assert len(places) > 20
        assert np.median(np.diff(places, axis=1) * HEIGHT, axis=(0, 1)) == pytest.approx([step, 0], abs=0.1)


def test_a_copy_is_faithful_and_so_is_one_that_is_noisy_or_of_another_rate() -> None:
    clip = moving(arc)
    assert fidelity(clip, clip) == pytest.approx(1)
    assert fidelity(noisy(clip), clip) > 0.95
    assert fidelity(moving(arc, frames=46, fps=24), clip) > 0.9


def test_a_moved_and_smaller_object_keeps_its_fidelity() -> None:
    def elsewhere(seconds: float) -> tuple[float, float]:
        left, top = arc(seconds)
        return 60 + left / 2, 50 + top / 2

    assert fidelity(moving(elsewhere, square=16), moving(arc)) > 0.9


def test_motion_reversed_or_mirrored_is_not_faithful() -> None:
    clip = moving(right)
    assert fidelity(played(clip, clip.frames[::-1]), clip) < 0.1
    assert fidelity(played(clip, clip.frames[:, :, ::-1]), clip) < 0.1


@pytest.mark.parametrize("still", [moving(rest), noisy(moving(rest))], ids=["still", "noisy"])
def test_standing_still_is_not_rewarded_and_needs_no_division_by_zero(still: Clip) -> None:
    """In DMT's formula, every point at rest is a perfect match or nan."""
    assert fidelity(still, moving(arc)) == 0
    assert np.isnan(fidelity(moving(arc), still))


def test_stopping_half_way_costs_half() -> None:
    def stops(seconds: float) -> tuple[float, float]:
        return right(min(seconds, 15 / 16))

    assert fidelity(moving(stops), moving(right)) == pytest.approx(0.5, abs=0.1)


def test_missing_motion_and_added_motion_both_cost() -> None:
    """Matching in one direction only would call one of these perfect."""

    def up(seconds: float) -> tuple[float, float]:
        return 115, 90 - 40 * seconds

    one, two = moving(right), moving(right, up)
    assert fidelity(one, two) < 0.85
    assert fidelity(two, one) < 0.85
    assert fidelity(one, two) == pytest.approx(fidelity(two, one), abs=1e-6)


def test_a_plain_video_without_corners_has_no_tracks() -> None:
    plain = Clip(np.full((4, 64, 64, 3), 90, np.uint8), np.arange(4) / 8)
    assert [len(places) for places in point_tracks(plain)] == [0, 0]
    assert fidelity(plain, moving(arc)) == 0
