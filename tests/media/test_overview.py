"""A whole video at a glance, whatever its length and whether it says how long it is."""

from pathlib import Path

import pytest
from helpers.make_videos import counting, film, numbers
from numpy.testing import assert_allclose

from echoreel.common.errors import VideoUnreadable
from echoreel.media import overview as module
from echoreel.media.overview import overview


@pytest.mark.parametrize("through", [600, 1])
def test_frames_of_the_whole_video_evenly_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through: int
) -> None:
    """Read once from end to end, or each frame sought: the same."""
    monkeypatch.setattr(module, "READ_THROUGH", through)
    seen = overview(film(tmp_path / "a.mp4", counting(24), fps=8), count=6, height=24)
    assert numbers(seen.frames) == [0, 4, 8, 12, 16, 20]
    assert_allclose(seen.times, [0, 0.5, 1, 1.5, 2, 2.5])
    assert seen.duration == pytest.approx(3)
    assert seen.frames.shape == (6, 24, 32, 3)


def test_a_video_that_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    """As browsers record it: Matroska as a live stream."""
    live = film(tmp_path / "a.webm", counting(24), fps=8, codec="libvpx", container_options={"live": "1"})
    assert module.probe(live).duration is None
    seen = overview(live, count=3)
    assert numbers(seen.frames)[0] == 0
    assert len(seen.frames) == 3
    assert seen.duration == pytest.approx(3, abs=0.3)


def test_what_is_no_video_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"<html>")
    with pytest.raises(VideoUnreadable):
        overview(tmp_path / "a.mp4")
